"""A byte-level BPE tokenizer of exactly the asked size, trained on a fixed list of words."""

from __future__ import annotations

from typing import Any

BOS, PAD, EOS, UNK = "<s>", "<pad>", "</s>", "<unk>"
SPECIAL = (BOS, PAD, EOS, UNK)
BOS_ID, PAD_ID, EOS_ID = 0, 1, 2

_WORDS = """
the be to of and in that have it for not on with he as you do at this but his by from they we say her she or
an will my one all would there their what so up out if about who get which go me when make can like time no
just him know take people into year your good some could them see other than then now look only come its over
think also back after use two how our work first well way even new want because any these give day most us
request token model memory block page batch queue schedule server client latency throughput prompt output
iteration attention layer transfer preempt resume measure figure claim compare result policy engine
""".split()  # noqa: SIM905  a paragraph is easier to read than 200 quoted words


def train(vocab: int) -> Any:
    """A fast tokenizer with ids 0 to `vocab` - 1, every one of them decodable (a `PreTrainedTokenizerFast`)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token=UNK))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        (f" {word} {word}" for word in _WORDS),
        trainers.BpeTrainer(
            vocab_size=vocab,
            min_frequency=1,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    assert core.get_vocab_size() == vocab, f"the word list yields {core.get_vocab_size()} tokens, not {vocab}"
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=BOS, pad_token=PAD, eos_token=EOS, unk_token=UNK)
