"""Writes the files beside it with the libraries that own their formats: PyTorch 2.13, safetensors 0.8, NumPy, h5py 3.16 in the layout of the NIR package.

Only for making them anew; tests read the committed files. Elements are what test/exchange.test.ts expects: element i of a tensor is start + i * step.
"""
import sys
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.torch import save_file

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent


def ramp(shape, start, step, dtype=torch.float32):
    count = int(np.prod(shape))
    return (start + step * torch.arange(count, dtype=torch.float64)).reshape(shape).to(dtype)


def types():
    return OrderedDict([
        ("double", ramp((2, 3), -1, 0.5, torch.float64)),
        ("float", ramp((2, 3), -1, 0.5)),
        ("half", ramp((2, 3), -1, 0.5, torch.float16)),
        ("bfloat", ramp((2, 3), -1, 0.5, torch.bfloat16)),
        ("long", ramp((4,), -2, 1, torch.int64)),
        ("int", ramp((4,), -2, 1, torch.int32)),
        ("short", ramp((4,), -2, 1, torch.int16)),
        ("char", ramp((4,), -2, 1, torch.int8)),
        ("byte", ramp((4,), 0, 1, torch.uint8)),
        ("bool", torch.tensor([True, False, True])),
    ])


def pytorch():
    torch.save(types(), folder / "types.pt")
    base = ramp((4, 6), 0, 1)
    torch.save({
        "transposed": base.t(),
        "part": base[1:3, ::2],
        "shared": base[2],
        "expanded": base[:, :1].expand(4, 3),
        "scalar": torch.tensor(7.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(ramp((3,), 1, 1)),
        "epoch": 3, "name": "réseau", "rate": 0.25, "big": 2 ** 40, "nothing": None, "flags": [True, False],
        "nested": {"weight": ramp((2,), 5, 1), 7: ramp((1,), 9, 1)},
    }, folder / "views.pt")
    torch.save(torch.nn.Linear(2, 2), folder / "whole-module.pt")
    torch.save(OrderedDict(a=torch.zeros(1)), folder / "legacy.pt", _use_new_zipfile_serialization=False)


def tensors():
    save_file({**types(), "view": ramp((2, 2), 1, 1)}, folder / "types.safetensors", metadata={"format": "pt"})
    np.savez(folder / "types.npz", **{name: tensor.numpy() for name, tensor in types().items() if name != "bfloat"},
             fortran=np.asfortranarray(ramp((2, 3), 0, 1).numpy()))


def nir():
    """A chain as snnTorch and Norse export one: plain LIF neurons, no LeakyReLU, a time step of 1e-4."""
    step, leak, r = 1e-4, 0.5, 4.0
    tau = step / (1 - leak)
    text = h5py.string_dtype()
    nodes = {
        "input": ("Input", {"shape": np.array([2, 34, 34])}),
        "0": ("Conv2d", {
            "input_shape": np.array([34, 34]), "weight": ramp((3, 2, 5, 5), -0.2, 0.003).numpy(), "stride": np.array([2, 2]),
            "padding": np.array([1, 1]), "dilation": np.array([1, 1]), "groups": 1, "bias": np.zeros(3, np.float32)}),
        "1": ("LIF", {name: np.full((3, 16, 16), value, np.float32) for name, value in (
            ("tau", tau), ("r", r), ("v_leak", 0), ("v_reset", 0), ("v_threshold", 0.5))}),
        "2": ("SumPool2d", {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2]), "padding": np.array([0, 0])}),
        "3": ("Flatten", {"input_type": np.array([3, 8, 8]), "start_dim": 0, "end_dim": -1}),
        "4": ("Affine", {"weight": ramp((4, 192), -0.1, 0.0003).numpy(), "bias": np.zeros(4, np.float32)}),
        "5": ("I", {"r": np.full(4, 1 / step, np.float32)}),
        "output": ("Output", {"shape": np.array([4])}),
    }
    names = list(nodes)
    with h5py.File(folder / "chain.nir", "w") as file:
        file.create_dataset("version", data="1.0.8", dtype=text)
        graph = file.create_group("node")
        graph.create_dataset("type", data="NIRGraph", dtype=text)
        graph.create_dataset("edges", data=list(zip(names, names[1:])))
        for name, (kind, fields) in nodes.items():
            group = graph.create_group(f"nodes/{name}")
            group.create_dataset("type", data=kind, dtype=text)
            for field, value in fields.items():
                packed = {"compression": "gzip"} if isinstance(value, np.ndarray) else {}
                group.create_dataset(field, data=value, **packed)


pytorch()
tensors()
nir()
