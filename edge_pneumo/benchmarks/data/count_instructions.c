/* A QEMU plugin that counts a guest's AArch64 instructions by class (plugin API 1, QEMU 7 and 8).
 *
 *     cc -O2 -shared -fPIC -o count.so count_instructions.c
 *     qemu-aarch64 -plugin ./count.so,out=counts.txt ...
 *
 * The guest asks for a snapshot with getpriority(MAGIC, label): one line "label total load_store ..." is appended.
 * Each block of instructions is classified once, when QEMU translates it; running it only adds constants, so counts are
 * exact for one thread. Threads would race for the counters: count with one thread.
 *
 * Debian ships no qemu-plugin.h, so the few functions used are declared here; encodings are those of the Arm
 * Architecture Reference Manual (DDI 0487), section C4.1.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t plugin_id;
typedef void (*translate_callback)(plugin_id, struct qemu_plugin_tb *);
typedef void (*syscall_callback)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                 uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translate_callback);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *counter, uint64_t amount);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

#define EXPORT __attribute__((visibility("default")))
#define ADD_U64 0
#define GETPRIORITY 141
#define MAGIC 0x45504e55 /* "EPNU" */

EXPORT int qemu_plugin_version = 1;

enum { TOTAL, LOAD_STORE, BRANCH, INTEGER, VECTOR, DOT, WIDE_MULTIPLY, FUSED_FLOAT, OTHER, CLASSES };
static uint64_t counters[CLASSES];
static FILE *out;

/* Instructions inside VECTOR that say which arithmetic a kernel uses. */
static const struct { uint32_t mask, value; int class; } SPECIAL[] = {
    { 0x9f20fc00, 0x0e009400, DOT },           /* SDOT, UDOT (vector) */
    { 0x9f00f400, 0x0f00e000, DOT },           /* SDOT, UDOT (by element) */
    { 0xbfe0fc00, 0x0e809c00, DOT },           /* USDOT (vector) */
    { 0xbf40f400, 0x0f00f000, DOT },           /* USDOT, SUDOT (by element) */
    { 0x9f20fc00, 0x0e208000, WIDE_MULTIPLY }, /* SMLAL, UMLAL (vector) */
    { 0x9f20fc00, 0x0e20c000, WIDE_MULTIPLY }, /* SMULL, UMULL (vector) */
    { 0x9f00f400, 0x0f002000, WIDE_MULTIPLY }, /* SMLAL, UMLAL (by element) */
    { 0x9f00f400, 0x0f00a000, WIDE_MULTIPLY }, /* SMULL, UMULL (by element) */
    { 0xbfa0fc00, 0x0e20cc00, FUSED_FLOAT },   /* FMLA (vector) */
    { 0xbf80f400, 0x0f801000, FUSED_FLOAT },   /* FMLA (by element) */
};

static void classify(uint32_t word, uint64_t *amounts)
{
    uint32_t group = word >> 25 & 15;
    amounts[TOTAL]++;
    if ((group & 5) == 4) {
        amounts[LOAD_STORE]++;
    } else if ((group & 14) == 10) {
        amounts[BRANCH]++;
    } else if ((group & 7) == 7) {
        amounts[VECTOR]++;
        for (size_t i = 0; i < sizeof SPECIAL / sizeof *SPECIAL; i++)
            if ((word & SPECIAL[i].mask) == SPECIAL[i].value) {
                amounts[SPECIAL[i].class]++;
                break;
            }
    } else if ((group & 14) == 8 || (group & 7) == 5) {
        amounts[INTEGER]++;
    } else {
        amounts[OTHER]++;
    }
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    uint64_t amounts[CLASSES] = { 0 };
    size_t count = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        classify(word, amounts);
    }
    for (int k = 0; k < CLASSES; k++)
        if (amounts[k])
            qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &counters[k], amounts[k]);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t magic, uint64_t label, uint64_t a3, uint64_t a4,
                   uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (number != GETPRIORITY || (uint32_t)magic != MAGIC)
        return;
    fprintf(out, "%" PRIu64, label);
    for (int k = 0; k < CLASSES; k++)
        fprintf(out, " %" PRIu64, counters[k]);
    fputc('\n', out);
    fflush(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    const char *path = NULL;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            path = argv[i] + 4;
    if (!path || !(out = fopen(path, "w"))) {
        fprintf(stderr, "count_instructions: give out=FILE, a place that can be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
