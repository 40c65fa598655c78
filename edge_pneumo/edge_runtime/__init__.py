"""What runs in the clinic: numpy, Pillow, pydicom, click and LiteRT, nothing else."""
