"""The floor as a program: the least that any Python program must do for one film, without a line of the product.

    python -P floor_process.py MODEL.tflite FILM.dcm SIDE_PX

Imports numpy, pydicom, Pillow and LiteRT, decodes the film at the smallest sufficient scale, runs the network, prints
the sum of one output. For films in JPEG Baseline DICOM.
"""

import io
import sys

import numpy as np
import pydicom
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from pydicom.encaps import generate_frames


def main() -> None:
    """One film."""
    model, film, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
    dataset = pydicom.dcmread(film)
    picture = Image.open(io.BytesIO(next(generate_frames(dataset.PixelData, number_of_frames=1))))
    picture.draft("L", (side, side))
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    grey = np.asarray(picture.resize((side, side))).reshape(1, side, side, 1)
    interpreter.set_tensor(details["index"], grey.astype(details["dtype"]))
    interpreter.invoke()
    print(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).sum())


if __name__ == "__main__":
    main()
