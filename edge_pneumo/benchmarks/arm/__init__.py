"""ARM without ARM: emulated Raspberry Pis for functional tests and instruction counts. Instructions, never time."""
