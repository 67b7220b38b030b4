"""A vision tower in OpenVINO and onnxruntime, in a process of the peers' environment: one JSON line a request on stdin.

It imports nothing of this project, which is not installed there.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np


def methods(folder: Path, num_threads: int) -> dict[str, Callable[[], Any]]:
    """Name -> a function that embeds the batch in a folder: each runtime, in each precision that it has on a CPU."""
    inputs = [np.load(folder / "images.npy"), np.load(folder / "alpha.npy")]
    program: Any = importlib.import_module("torch").export.load(folder / "tower.pt2")
    found: dict[str, Callable[[], Any]] = {}

    def infer(request: Any) -> Any:
        return request.infer(inputs, share_inputs=True)[0]

    try:
        openvino: Any = importlib.import_module("openvino")
        model = openvino.convert_model(program)
        for name, precision in (("OpenVINO, fp32", "f32"), ("OpenVINO, bf16", "bf16")):
            settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": num_threads, "NUM_STREAMS": 1}
            request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
            found[name] = partial(infer, request)
    except ImportError:
        pass
    try:
        runtime: Any = importlib.import_module("onnxruntime")
        if not (folder / "tower.onnx").exists():
            onnx: Any = importlib.import_module("torch.onnx").export(program, dynamo=True, verbose=False)
            onnx.save(folder / "tower.onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = runtime.InferenceSession(folder / "tower.onnx", options, providers=["CPUExecutionProvider"])
        feed = {one.name: values for one, values in zip(session.get_inputs(), inputs, strict=True)}
        found["onnxruntime, fp32"] = lambda: session.run(None, feed)[0]
    except ImportError:
        pass
    return found


def main() -> None:
    """Answer until stdin ends."""
    folder, answers = Path(sys.argv[1]), sys.stdout
    sys.stdout = sys.stderr  # exporters talk
    warnings.simplefilter("ignore")
    found = methods(folder, int(sys.argv[2]))
    print(json.dumps(sorted(found)), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        features = found[request["method"]]()
        taken = [time.perf_counter() - wall, time.process_time() - cpu]
        np.save(folder / "features.npy", features)
        print(json.dumps(taken), file=answers, flush=True)


if __name__ == "__main__":
    main()
