"""The addresses and names that published tutorials import: here they are too, under the same addresses."""

import warnings

import pytest

PUBLISHED = {  # after the package's name
    "": "SentenceTransformer CrossEncoder SentenceTransformerTrainer SentenceTransformerTrainingArguments InputExample "
    "SentenceTransformerModelCardData SimilarityFunction SentencesDataset ParallelSentencesDataset LoggingHandler "
    "quantize_embeddings mine_hard_negatives export_optimized_onnx_model export_dynamic_quantized_onnx_model "
    "export_static_quantized_openvino_model losses models util evaluation datasets readers",
    ".util": "cos_sim dot_score euclidean_sim manhattan_sim pairwise_cos_sim pairwise_dot_score pairwise_euclidean_sim "
    "pairwise_manhattan_sim pairwise_angle_sim pytorch_cos_sim normalize_embeddings truncate_embeddings "
    "semantic_search paraphrase_mining paraphrase_mining_embeddings community_detection mine_hard_negatives "
    "information_retrieval http_get is_training_available batch_to_device disable_logging "
    "is_sentence_transformer_model load_file_path load_dir_path LoggingHandler",
    ".quantization": "quantize_embeddings semantic_search_faiss semantic_search_usearch",
    ".training_args": "BatchSamplers MultiDatasetBatchSamplers SentenceTransformerTrainingArguments",
    ".trainer": "SentenceTransformerTrainer",
    ".sampler": "DefaultBatchSampler GroupByLabelBatchSampler NoDuplicatesBatchSampler ProportionalBatchSampler "
    "RoundRobinBatchSampler",
    ".similarity_functions": "SimilarityFunction",
    ".model_card": "SentenceTransformerModelCardData",
    ".readers": "InputExample STSDataReader STSBenchmarkDataReader NLIDataReader LabelSentenceReader PairedFilesReader "
    "TripletReader",
    ".datasets": "ParallelSentencesDataset SentenceLabelDataset DenoisingAutoEncoderDataset NoDuplicatesDataLoader "
    "SentencesDataset",
    ".cross_encoder": "CrossEncoder CrossEncoderTrainer CrossEncoderTrainingArguments",
    ".cross_encoder.trainer": "CrossEncoderTrainer",
    ".cross_encoder.training_args": "CrossEncoderTrainingArguments",
    ".cross_encoder.losses": "BinaryCrossEntropyLoss CrossEntropyLoss MSELoss MarginMSELoss "
    "MultipleNegativesRankingLoss CachedMultipleNegativesRankingLoss LambdaLoss ListNetLoss ListMLELoss PListMLELoss "
    "RankNetLoss",
    ".cross_encoder.evaluation": "CEBinaryAccuracyEvaluator CEBinaryClassificationEvaluator CECorrelationEvaluator "
    "CEF1Evaluator CESoftmaxAccuracyEvaluator CERerankingEvaluator CrossEncoderClassificationEvaluator "
    "CrossEncoderCorrelationEvaluator CrossEncoderRerankingEvaluator CrossEncoderNanoBEIREvaluator",
}


@pytest.mark.parametrize(("at", "name"), [(at, name) for at, names in PUBLISHED.items() for name in names.split()])
def test_a_published_import_works_after_changing_the_package_s_name(at, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference has moved some of them since
        for package in ("sentence_transformers", "workbench"):
            exec(f"from {package}{at} import {name}", {})


def test_what_stands_at_two_addresses_is_the_same():
    import workbench
    from workbench import sampler, similarity_functions, trainer, training, training_args
    from workbench.cross_encoder import training_args as pair_arguments

    assert trainer.SentenceTransformerTrainer is workbench.SentenceTransformerTrainer
    assert training_args.SentenceTransformerTrainingArguments is workbench.SentenceTransformerTrainingArguments
    assert training_args.BatchSamplers is sampler.BatchSamplers is training.BatchSamplers
    assert pair_arguments.CrossEncoderTrainingArguments is workbench.CrossEncoderTrainingArguments
    assert similarity_functions.SimilarityFunction is workbench.SimilarityFunction
