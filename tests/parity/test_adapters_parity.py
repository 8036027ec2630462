"""Adapters beside the reference: folders written by either are read by the other, to the same vectors and scores."""

import numpy as np
import pytest
import sentence_transformers as theirs
import torch

from tests import tiny_pairs
from tests.tiny_adapters import PAIRS, TEXTS, lora
from workbench import CrossEncoder, SentenceTransformer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_the_reference_reads_our_adapters_and_we_read_its(tiny, tmp_path):
    tiny.add_adapter(lora(use_rslora=True, bias="lora_only"))
    vectors = tiny.encode(TEXTS)
    tiny.save(tmp_path / "ours")
    reference = theirs.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert np.allclose(reference.encode(TEXTS), vectors, atol=1e-6)
    reference.save(str(tmp_path / "theirs"))
    assert np.allclose(SentenceTransformer(tmp_path / "theirs", device="cpu").encode(TEXTS), vectors, atol=1e-6)
    found, wanted = tiny.get_adapter_state_dict(), reference.get_adapter_state_dict()
    assert {key: value.tolist() for key, value in found.items()} == {k: v.tolist() for k, v in wanted.items()}


def test_cross_encoders_with_adapters_pass_between_both(tmp_path):
    model = CrossEncoder(tiny_pairs.write(tmp_path / "model"), device="cpu")
    model.add_adapter(lora(modules_to_save=["classifier"]))
    model.default_activation_function = torch.nn.Identity()
    scores = model.predict(PAIRS)
    model.save(tmp_path / "ours")
    reference = theirs.CrossEncoder(str(tmp_path / "ours"), device="cpu")
    assert np.allclose(reference.predict(PAIRS), scores, atol=1e-6)
    reference.save_pretrained(str(tmp_path / "theirs"))
    assert np.allclose(CrossEncoder(tmp_path / "theirs", device="cpu").predict(PAIRS), scores, atol=1e-6)
