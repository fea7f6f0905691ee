"""MNIST for the tests: the real one where it is, stand-ins everywhere."""

import gzip
import hashlib
import json
import os
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

import reference
from intmlp.io.datasets import Dataset
from intmlp.study import mnist2017

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def real_folder():
    """Return the folder of MNIST's IDX files, or skip the test."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("INTMLP_MNIST", default))
    if "INTMLP_MNIST" not in os.environ and not folder.is_dir():
        pytest.skip("needs MNIST: set INTMLP_MNIST to the folder of its IDX files")
    return folder


class Oracle(reference.Network):
    """The reference model, which would take hours, told that what is zero changes nothing."""

    def stored(self, sums, widths, m):
        return sums  # a fused update reads no stored gradient

    def updated(self, w, v, s, *same, **named):
        return super().updated(w, v, s, *same, **named) if s else (w, v)


def oracle_cell(samples, lr_shift, fraction):
    """Return the weights and the reports after training on `samples`; nothing is intmlp's."""
    state = np.random.RandomState(0xDEADBEEC)
    state.permutation(70_000)
    weights = np.rint(state.normal(0, 500, (10, 784))).astype(int).tolist()
    fmt = reference.Format(32, fraction, "floor", "saturate")
    layer = reference.Layer((fmt,) * 4, reference.Activation("relu"))
    net = Oracle(fmt, [layer], [[weights]], "half_sse", "fused", reference.Parts())
    x = np.rint(samples.images / 255.0 * 2.0**fraction).astype(int).tolist()
    y = [[int(digit == label) << fraction for digit in range(10)] for label in samples.labels]
    reports = [net.step([row], [target], lr_shift) for row, target in zip(x, y, strict=True)]
    return net.tensors[0][0], reports


def stand_in(stream):
    """Return 70,000 samples, already sorted, of which the experiment picks those of `stream`.

    The other images are blank, and have a label that keeps the order.
    """
    order = np.random.RandomState(mnist2017.SEED).permutation(70_000)[: len(stream.labels)]
    images, labels = np.zeros((70_000, 784), np.uint8), np.zeros(70_000, np.uint8)
    images[order], labels[order] = stream
    for part in np.split(labels, [60_000]):
        np.maximum.accumulate(part, out=part)
    return Dataset(images, labels)


def idx(array):
    """Return the bytes of an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, mnist, training, suffix=""):
    """Write a data set as MNIST's four files, the first `training` samples as training set."""
    images = mnist.images.reshape(-1, 28, 28)
    arrays = (
        images[:training],
        mnist.labels[:training],
        images[training:],
        mnist.labels[training:],
    )
    for name, array in zip(FILES, arrays, strict=True):
        content = idx(array)
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)


def as_arff(mnist):
    """Return a data set as OpenML's ARFF file."""
    columns = "".join(f"@ATTRIBUTE pixel{i + 1} real\n" for i in range(784))
    head = f"@RELATION mnist_784\n{columns}@ATTRIBUTE class {{0,1,2,3,4,5,6,7,8,9}}\n@DATA\n"
    rows = np.column_stack([mnist.images, mnist.labels]).tolist()
    return (head + "".join(f"{','.join(map(str, row))}\n" for row in rows)).encode()


@contextmanager
def openml(monkeypatch, data_home, mnist, arff=None, description=()):
    """Serve a data set as mnist_784 on this machine, and send scikit-learn there.

    `arff` and `description` replace the data file, and fields of its description. Yields the
    list of the paths asked for.
    """
    from sklearn.datasets import _openml

    arff = as_arff(mnist) if arff is None else arff
    features = [
        {
            "index": str(i),
            "name": "class" if i == 784 else f"pixel{i + 1}",
            "data_type": "nominal" if i == 784 else "numeric",
            "is_target": str(i == 784).lower(),
            "is_ignore": "false",
            "is_row_identifier": "false",
            "number_of_missing_values": "0",
        }
        for i in range(785)
    ]
    data = {
        "id": "554",
        "name": "mnist_784",
        "version": "1",
        "status": "active",
        "format": "ARFF",
        "description": "digits",
        "url": "https://www.openml.org/data/v1/download/52667/mnist_784.arff",
        "md5_checksum": hashlib.md5(arff).hexdigest(),
        **dict(description),
    }
    quality = [{"name": "NumberOfInstances", "value": f"{len(mnist.labels)}.0"}]
    search = "/api/v1/json/data/list/data_name/mnist_784/limit/2/data_version/1"
    answers = {
        search: {"data": {"dataset": [{"did": 554, "name": "mnist_784", "version": 1}]}},
        "/api/v1/json/data/554": {"data_set_description": data},
        "/api/v1/json/data/features/554": {"data_features": {"feature": features}},
        "/api/v1/json/data/qualities/554": {"data_qualities": {"quality": quality}},
    }
    answers = {path: json.dumps(answer).encode() for path, answer in answers.items()}
    answers["/data/v1/download/52667/mnist_784.arff"] = arff
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answer = answers.get(self.path)
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(answer or b"")))
            self.end_headers()
            self.wfile.write(answer or b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    real_urlopen = _openml.urlopen

    def urlopen(request):
        address = urlsplit(request.full_url)
        assert (address.scheme, address.netloc) == ("https", "www.openml.org")
        return real_urlopen(f"http://127.0.0.1:{server.server_port}{address.path}")

    monkeypatch.setattr(_openml, "urlopen", urlopen)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(data_home))
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
