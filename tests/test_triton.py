"""The model repository says of each graph what the graph says of itself, in Triton's own schema."""

import importlib.util
import sys
from importlib.metadata import distribution

import pytest

onnx = pytest.importorskip("onnx")

from google.protobuf import text_format  # noqa: E402

from animax.diffusion.engine import CLOCK, INPUTS, MAX_BATCH, OUTPUTS, PLAN  # noqa: E402
from animax.diffusion.manifest import read_manifest  # noqa: E402
from animax.diffusion.registry import PACKAGE  # noqa: E402
from animax.errors import ModelError  # noqa: E402
from animax_engine import triton  # noqa: E402
from animax_engine.triton import write_repository  # noqa: E402


@pytest.fixture(scope="module")
def schema():
    """Triton's ModelConfig as its client package ships it; the package itself wants an older protobuf."""
    path = distribution("tritonclient").locate_file("tritonclient/grpc/model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["model_config_pb2"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton")
    write_repository(PACKAGE / "embedded", folder)
    return folder


def read(schema, folder):
    return text_format.Parse((folder / "config.pbtxt").read_text(), schema.ModelConfig())


def test_triton_s_schema_reads_every_config(schema, repository):
    folders = [path for path in repository.iterdir() if path.is_dir()]
    assert sorted(path.name for path in folders) == ["embedded_denoiser", "embedded_text"]
    for folder in folders:
        config = read(schema, folder)
        assert config.name == folder.name
        assert config.backend == "onnxruntime"
        assert config.instance_group[0].count == 1
        assert (folder / "1" / "model.onnx").is_file()


@pytest.mark.parametrize("name", ["embedded_denoiser", "embedded_text"])
def test_inputs_and_outputs_are_the_graph_s(schema, repository, name):
    config = read(schema, repository / name)
    graph = onnx.load(repository / name / "1" / "model.onnx").graph
    batched = config.max_batch_size > 0
    for told, values in ((config.input, graph.input), (config.output, graph.output)):
        assert [one.name for one in told] == [value.name for value in values]
        for one, value in zip(told, values, strict=True):
            tensor = value.type.tensor_type
            dims = [dim.dim_value or -1 for dim in tensor.shape.dim]
            assert list(one.dims) == (dims[1:] if batched else dims)
            wanted = {onnx.TensorProto.FLOAT: schema.TYPE_FP32, onnx.TensorProto.INT64: schema.TYPE_INT64}
            assert one.data_type == wanted[tensor.elem_type]


def test_the_denoiser_s_steps_are_batched(schema, repository):
    config = read(schema, repository / "embedded_denoiser")
    assert [one.name for one in config.input] == [*INPUTS, CLOCK, PLAN]
    assert [one.name for one in config.output] == list(OUTPUTS)
    assert config.max_batch_size == MAX_BATCH["cuda"]
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert not read(schema, repository / "embedded_text").HasField("dynamic_batching")


def test_the_repository_tells_how_to_start_it(repository):
    text = (repository / "README.md").read_text()
    assert "tritonserver --model-repository" in text
    assert "embedded_denoiser" in text


def test_a_type_that_triton_has_no_name_for_is_refused():
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.COMPLEX64, [1])
    with pytest.raises(ModelError, match="x of odd is of type COMPLEX64; accepted: TYPE_FP32"):
        triton.config("odd", onnx.helper.make_graph([], "g", [value], []))


def test_an_altered_model_is_not_passed_on(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "manifest.json").write_text((PACKAGE / "embedded" / "manifest.json").read_text())
    (folder / read_manifest(folder).file).write_bytes(b"other")
    with pytest.raises(ModelError, match="has 5 bytes"):
        write_repository(folder, tmp_path / "triton")
    assert not (tmp_path / "triton").exists()
