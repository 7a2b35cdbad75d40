"""Writes the cases of `tests/onnx.rs`: small ONNX models, inputs, and what others say that they give.

    pip install onnx onnxruntime safetensors numpy
    python tests/tools/onnx_cases.py tests/fixtures/onnx

`ops.safetensors` has models of one op or a few with random inputs and onnxruntime's results; `node.safetensors` the cases of the
ONNX backend test suite (`onnx.backend.test`) that its own checker accepts under version 21 of the operators, with their results.
Each case has tensors `NAME/model`, `NAME/in/INPUT` and `NAME/out/OUTPUT`; truth is uint8.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from safetensors.numpy import save_file

OPSET = 21
random = np.random.default_rng(19)


def stored(array):
    """`array` in a type that safetensors has."""
    array = np.asarray(array, order="C")
    return array.astype(np.uint8) if array.dtype == bool else array


def model_of(nodes, inputs, outputs, constants, opset=18):
    value = lambda name, array: helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
    graph = helper.make_graph(
        nodes, "case", [value(name, array) for name, array in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(model, inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def f32(*shape, low=-2.0, high=2.0):
    return random.uniform(low, high, shape).astype(np.float32)


def cases():
    """Name, op, inputs that are given, inputs that the file has, attributes, and the type of the result, if not f32."""
    ints = lambda *numbers: np.array(numbers, dtype=np.int64)
    x = f32(2, 3, 8)
    for op in ("Abs Cos Elu Erf Exp Gelu HardSigmoid HardSwish Identity LeakyRelu Mish Neg Relu Selu Sigmoid Sin Softplus "
               "Softsign Tanh").split():
        yield op, op, [x], [], {}, {"opset": 20 if op == "Gelu" else 18}
    yield "Gelu_tanh", "Gelu", [x], [], {"approximate": "tanh"}, {"opset": 20}
    for op in "Log Reciprocal Sqrt".split():
        yield op, op, [f32(3, 5, low=0.1, high=4.0)], [], {}, {}
    for op in "Add Sub Mul Div Max Min Mean Sum".split():
        yield op, op, [x, f32(3, 1, low=0.5)], [], {}, {}
        yield f"{op}_vector", op, [x], [f32(8, low=0.5)], {}, {}
        yield f"{op}_number", op, [x], [f32(1, 1, 1, 1, low=0.5)], {}, {}
    yield "Sum_three", "Sum", [x, f32(3, 8), f32(1)], [], {}, {}
    for power in (1.0, 2.0, 3.0, 0.5, -1.5):
        yield f"Pow_{power}", "Pow", [f32(4, 6, low=0.1)], [np.float32(power)], {}, {}
    yield "Pow_tensor", "Pow", [f32(4, 6, low=0.1), f32(6)], [], {}, {}
    yield "PRelu", "PRelu", [x], [f32(3, 1)], {}, {}
    yield "Clip", "Clip", [x], [np.float32(-0.5), np.float32(1.0)], {}, {}
    for op in "Equal Greater GreaterOrEqual Less LessOrEqual".split():
        a = np.round(f32(4, 5))
        yield op, op, [a, np.round(f32(5))], [], {}, {"kind": TensorProto.BOOL}
    yield "Where", "Where", [f32(4, 5) > 0, f32(5), f32(4, 1)], [], {}, {}
    yield "Where_inf", "Where", [f32(4, 5) > 0, f32(4, 5)], [np.float32(7.0)], {}, {}
    for op in "And Or Xor".split():
        yield op, op, [f32(4, 5) > 0, f32(4, 5) > 0], [], {}, {"kind": TensorProto.BOOL}
    yield "Not", "Not", [f32(4, 5) > 0], [], {}, {"kind": TensorProto.BOOL}
    for op in "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare".split():
        yield f"{op}_last", op, [x], [ints(-1)], {"keepdims": 0}, {}
        yield f"{op}_first", op, [x], [ints(0, 2)], {}, {}
        yield f"{op}_all", op, [x], [], {}, {}
    yield "Softmax", "Softmax", [x], [], {}, {}
    yield "Softmax_middle", "Softmax", [x], [], {"axis": 1}, {}
    yield "LogSoftmax", "LogSoftmax", [x], [], {}, {}
    yield "MatMul", "MatMul", [f32(2, 3, 4, 5), f32(3, 5, 6)], [], {}, {}
    yield "MatMul_weight", "MatMul", [f32(2, 3, 5)], [f32(5, 7)], {}, {}
    yield "MatMul_row", "MatMul", [f32(5), f32(2, 5, 3)], [], {}, {}
    yield "MatMul_column", "MatMul", [f32(2, 3, 5), f32(5)], [], {}, {}
    yield "MatMul_vectors", "MatMul", [f32(5), f32(5)], [], {}, {}
    yield "Gemm", "Gemm", [f32(3, 5)], [f32(5, 7), f32(7)], {}, {}
    yield "Gemm_scaled", "Gemm", [f32(5, 3), f32(7, 5), f32(3, 1)], [], {"alpha": 0.5, "beta": 1.5, "transA": 1, "transB": 1}, {}
    yield "Gemm_weight", "Gemm", [f32(3, 5)], [f32(7, 5)], {"transB": 1}, {}
    image = f32(2, 4, 9, 8)
    for name, attributes in {
        "same": {"pads": [1, 1, 1, 1]}, "stride": {"strides": [2, 2]}, "uneven": {"pads": [0, 1, 2, 1]},
        "dilated": {"dilations": [2, 2]}, "groups": {"group": 2}, "auto": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    }.items():
        weight = f32(6, 4 // attributes.get("group", 1), 3, 3)
        yield f"Conv_{name}", "Conv", [image], [weight, f32(6)], attributes, {}
    yield "Conv_patches", "Conv", [f32(2, 3, 8, 12)], [f32(5, 3, 4, 4), f32(5)], {"strides": [4, 4]}, {}
    yield "Conv_patches_not_all", "Conv", [f32(2, 3, 9, 12)], [f32(5, 3, 4, 4)], {"strides": [4, 4]}, {}
    yield "Conv_line", "Conv", [f32(2, 4, 11)], [f32(5, 4, 3)], {"pads": [1, 1], "strides": [2]}, {}
    yield "MaxPool", "MaxPool", [image], [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, {}
    yield "AveragePool_padded", "AveragePool", [image], [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 1]}, {}
    yield "AveragePool", "AveragePool", [image], [], {"kernel_shape": [2, 2]}, {}
    yield "GlobalAveragePool", "GlobalAveragePool", [image], [], {}, {}
    yield "GlobalMaxPool", "GlobalMaxPool", [image], [], {}, {}
    yield "BatchNormalization", "BatchNormalization", [image], [f32(4), f32(4), f32(4), f32(4, low=0.5)], {}, {}
    yield "InstanceNormalization", "InstanceNormalization", [image], [f32(4), f32(4)], {}, {}
    yield "GroupNormalization", "GroupNormalization", [image], [f32(4), f32(4)], {"num_groups": 2}, {"opset": 21}
    yield "LayerNormalization", "LayerNormalization", [x], [f32(8), f32(8)], {}, {}
    yield "LayerNormalization_two", "LayerNormalization", [x], [f32(3, 8), f32(3, 8)], {"axis": 1}, {}
    yield "LayerNormalization_scale", "LayerNormalization", [x], [f32(8)], {}, {}
    yield "Transpose", "Transpose", [x], [], {"perm": [2, 0, 1]}, {}
    yield "Reshape", "Reshape", [x], [ints(0, -1, 4)], {}, {}
    yield "Flatten", "Flatten", [x], [], {"axis": 2}, {}
    yield "Squeeze", "Squeeze", [f32(1, 3, 1)], [ints(0)], {}, {}
    yield "Unsqueeze", "Unsqueeze", [x], [ints(0, -1)], {}, {}
    yield "Expand", "Expand", [f32(3, 1)], [ints(2, 3, 100)], {}, {}
    yield "Tile", "Tile", [f32(2, 3)], [ints(2, 3)], {}, {}
    yield "Concat", "Concat", [f32(2, 3), f32(2, 1)], [], {"axis": -1}, {}
    yield "Pad", "Pad", [x], [ints(0, 1, 2, 0, 0, 3), np.float32(0.5)], {}, {}
    yield "SpaceToDepth", "SpaceToDepth", [f32(1, 2, 4, 6)], [], {"blocksize": 2}, {}
    yield "DepthToSpace", "DepthToSpace", [f32(1, 8, 2, 3)], [], {"blocksize": 2}, {}
    yield "DepthToSpace_CRD", "DepthToSpace", [f32(1, 8, 2, 3)], [], {"blocksize": 2, "mode": "CRD"}, {}
    yield "Slice", "Slice", [x], [ints(1, -5), ints(3, -1), ints(1, 2)], {}, {}
    yield "Slice_back", "Slice", [x], [ints(-1), ints(-9), ints(2), ints(-1)], {}, {}
    yield "Slice_steps", "Slice", [f32(3, 40)], [ints(1), ints(40), ints(1), ints(3)], {}, {}
    yield "Gather", "Gather", [x], [ints(2, 0, 1, 1)], {"axis": 1}, {}
    yield "Gather_one", "Gather", [x], [np.array(-1, dtype=np.int64)], {"axis": 2}, {}
    yield "Gather_many", "Gather", [x], [random.integers(0, 8, (3, 4))], {"axis": 2}, {}
    yield "Gather_given", "Gather", [x, random.integers(0, 3, (2, 2))], [], {"axis": 1}, {}
    yield "Embedding", "Gather", [random.integers(0, 9, (2, 5))], [f32(9, 4)], {}, {"swap": True}
    yield "MaxPool_ceil", "MaxPool", [f32(1, 2, 8, 11)], [], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, {}
    yield "MaxPool_ceil_padded", "MaxPool", [f32(1, 2, 9, 12)], [], {
        "kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 0, 1], "ceil_mode": 1}, {}
    with_nan = f32(3, 4)
    with_nan[1, 2] = np.nan
    yield "IsNaN", "IsNaN", [with_nan], [], {}, {"kind": TensorProto.BOOL}
    yield "GatherND", "GatherND", [x], [np.array([[0, 1], [1, 2], [1, -1]])], {}, {}
    yield "GatherND_all", "GatherND", [f32(2, 5)], [np.stack(np.mgrid[0:2, 0:5], -1)], {}, {}
    yield "GatherND_batch", "GatherND", [f32(2, 3, 4)], [np.array([[[1]], [[2]]])], {"batch_dims": 1}, {}
    yield "GatherND_given", "GatherND", [f32(2, 9, 4), np.array([[0, 8], [1, 3], [0, 0]])], [], {}, {}
    yield "GatherND_given_one", "GatherND", [f32(1, 9, 4), np.array([[0, 8], [0, 3]])], [], {}, {}
    outside = {"exclude_outside": 1}
    for mode, extra in {"linear": {}, "cubic": {"cubic_coeff_a": -0.5}, "cubic_inside": outside}.items():
        for name, size in {"half": [1, 2, 4, 3], "odd": [1, 2, 5, 9]}.items():
            attributes = {"mode": mode.split("_")[0], "antialias": 1, **extra}
            yield f"Resize_antialias_{mode}_{name}", "Resize", [f32(1, 2, 8, 7)], ["", "", np.array(size)], attributes, {}
    for mode, extra in {
        "nearest": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, "linear": {}, "cubic": {},
        "linear_corners": {"coordinate_transformation_mode": "align_corners"}, "nearest_half": {},
    }.items():
        attributes = {"mode": mode.split("_")[0], **extra}
        for name, scales in {"up": [1, 1, 2, 2], "odd": [1, 1, 1.5, 0.5]}.items():
            yield f"Resize_{mode}_{name}", "Resize", [image], ["", np.array(scales, dtype=np.float32)], attributes, {}
    yield "ArgMax", "ArgMax", [random.integers(-9, 9, (3, 4, 5))], [], {"axis": 1, "keepdims": 0}, {"kind": TensorProto.INT64}


def ops():
    tensors = {}
    for name, op, given, own, attributes, options in cases():
        inputs = {f"i{index}": array for index, array in enumerate(given)}
        constants = {f"c{index}": np.asarray(array) for index, array in enumerate(own) if not isinstance(array, str)}
        names = [*inputs, *("" if isinstance(array, str) else f"c{index}" for index, array in enumerate(own))]
        if options.get("swap"):
            names.reverse()
        node = helper.make_node(op, names, ["y"], name=f"/block.0/{name}", **attributes)
        kind = options.get("kind", TensorProto.FLOAT)
        model = model_of([node], inputs, {"y": kind}, constants, options.get("opset", 18))
        add(tensors, name, model, inputs, run(model, inputs))
    return tensors


def add(tensors, name, model, inputs, outputs):
    tensors[f"{name}/model"] = np.frombuffer(model.SerializeToString(), dtype=np.uint8)
    for kind, arrays in (("in", inputs), ("out", outputs)):
        for key, array in arrays.items():
            tensors[f"{name}/{kind}/{key}"] = stored(array)


# Inputs of these ops that say how, not what: networks have them in the file.
PARAMETERS = {
    "BatchNormalization": [1, 2, 3, 4], "Clip": [1, 2], "Expand": [1], "Pad": [1, 2, 3], "Reshape": [1], "Resize": [1, 2, 3],
    "Slice": [1, 2, 3, 4], "Split": [1], "Squeeze": [1], "Tile": [1], "Unsqueeze": [1], "ConstantOfShape": [0],
    "Trilu": [1], "Range": [0, 1, 2],
    **{f"Reduce{kind}": [1] for kind in "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split()},
}


def with_parameters(model, inputs):
    """The model with such inputs as initializers, and the others."""
    fixed = set()
    for node in model.graph.node:
        fixed |= {node.input[index] for index in PARAMETERS.get(node.op_type, []) if index < len(node.input)}
    for name in fixed & set(inputs):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(inputs[name]), name))
    kept = [value for value in model.graph.input if value.name not in fixed]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return {name: array for name, array in inputs.items() if name not in fixed}


KINDS = {np.dtype(kind) for kind in ("f4", "f2", "i4", "i8", "bool")}
LARGEST = 20_000


def node_cases():
    tensors = {}
    for case in collect_testcases(None):
        model = case.model
        arrays = [*case.data_sets[0][0], *case.data_sets[0][1]] if case.data_sets else [None]
        fits = all(isinstance(array, np.ndarray) and array.dtype in KINDS and array.size <= LARGEST for array in arrays)
        if not fits or case.name.endswith("_expanded") or "_expanded_ver" in case.name:
            continue
        versions = [opset for opset in model.opset_import if opset.domain == ""]
        if len(model.opset_import) != 1 or not versions or model.functions:
            continue
        versions[0].version, model.ir_version = OPSET, 10
        try:
            onnx.checker.check_model(model, full_check=True)
        except Exception:
            continue
        names = lambda values: [value.name for value in values]
        inputs = dict(zip(names(model.graph.input), case.data_sets[0][0]))
        outputs = dict(zip(names(model.graph.output), case.data_sets[0][1]))
        inputs = with_parameters(model, inputs)
        add(tensors, case.name, model, inputs, outputs)
    return tensors


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    out = Path(sys.argv[1])
    for name, make in (("ops", ops), ("node", node_cases)):
        tensors = make()
        save_file(tensors, out / f"{name}.safetensors")
        count = len({key.split("/")[0] for key in tensors})
        print(f"{name}: {count} cases, {(out / f'{name}.safetensors').stat().st_size / 1e6:.1f} MB")
