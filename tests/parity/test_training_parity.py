"""Training gives the losses of the reference step by step: same batches, usual optimizer and schedule, no dropout."""

import pytest
import sentence_transformers as theirs
from sentence_transformers.sentence_transformer import losses as their_losses
from sentence_transformers.sentence_transformer.modules import StaticEmbedding as TheirStatic
from torch.utils.data import BatchSampler, SequentialSampler

from tests.tiny import model_folder, tokenizer
from tests.tiny_training import arguments, losses_of, pairs, static
from workbench import SentenceTransformer, losses
from workbench.training import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

STEPS = 20
SCORES = [number % 7 / 7 for number in range(40)]
CASES = {
    "MultipleNegativesRankingLoss": ({}, {}),
    "CoSENTLoss": ({"label": SCORES}, {}),
    "CachedMultipleNegativesRankingLoss": ({}, {"warmup_ratio": 0.2}),
    "CosineSimilarityLoss": ({"score": SCORES}, {"gradient_accumulation_steps": 2, "weight_decay": 0.1}),
}
PROMPTS = {"anchor": "query: ", "positive": "passage: "}


class InOrder(BatchSampler):
    """Rows as they come, for either trainer."""

    def __init__(self, dataset, batch_size, drop_last, **_):
        super().__init__(SequentialSampler(dataset), batch_size, drop_last)


def sequence(trainer, args, folder, model, loss, data, **options):
    how = {"max_steps": STEPS, "learning_rate": 2e-4, "batch_sampler": InOrder, "seed": 7, **options}
    run = trainer(model, arguments(folder, args, **how), data, loss=loss(model))
    run.train()
    return losses_of(run)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_transformer_has_the_reference_s_losses_for_twenty_steps(name, tmp_path):
    labels, options = CASES[name]
    folder = model_folder(tmp_path / "model", normalize=True)
    config = folder / "config.json"
    config.write_text(
        config.read_text().replace('_dropout_prob": 0.1', '_dropout_prob": 0.0'),
    )
    data = pairs(40, **labels)
    found, wanted = (
        sequence(trainer, args, tmp_path, model(str(folder), device="cpu"), getattr(home, name), data, **options)
        for trainer, args, model, home in (
            (SentenceTransformerTrainer, SentenceTransformerTrainingArguments, SentenceTransformer, losses),
            (
                theirs.SentenceTransformerTrainer,
                theirs.SentenceTransformerTrainingArguments,
                theirs.SentenceTransformer,
                their_losses,
            ),
        )
    )
    assert len(found) == STEPS
    assert found == pytest.approx(wanted, abs=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_static_vectors_with_prompts_have_the_reference_s_losses_for_twenty_steps(tmp_path):
    ours = static()
    block = TheirStatic(tokenizer(), embedding_weights=ours[0].embedding.weight.detach().clone())
    reference = theirs.SentenceTransformer(modules=[block], device="cpu")
    options = {"learning_rate": 1e-2, "prompts": PROMPTS}
    loss = "MultipleNegativesRankingLoss"
    found = sequence(
        SentenceTransformerTrainer, SentenceTransformerTrainingArguments, tmp_path, ours, getattr(losses, loss),
        pairs(40), **options,
    )  # fmt: skip
    wanted = sequence(
        theirs.SentenceTransformerTrainer, theirs.SentenceTransformerTrainingArguments, tmp_path, reference,
        getattr(their_losses, loss), pairs(40), **options,
    )  # fmt: skip
    assert found == pytest.approx(wanted, abs=1e-4)
