"""Tiny models of Wan's own classes."""

import pytest


@pytest.fixture(scope="session")
def wan_folder(tmp_path_factory):
    """A folder as diffusers writes it, with random weights."""
    import diffusers
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("wan")
    torch.manual_seed(0)
    # every kind of layer, and as few of each as there can be: most of an export's time goes by their number
    smallest = {"base_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 0}
    diffusers.AutoencoderKLWan(z_dim=16, **smallest).save_pretrained(folder / "vae")
    sizes = {"vocab_size": 32, "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    transformers.UMT5EncoderModel(transformers.UMT5Config(**sizes)).save_pretrained(folder / "text_encoder")
    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "walk": 2, "idle": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(folder / "tokenizer")
    return folder
