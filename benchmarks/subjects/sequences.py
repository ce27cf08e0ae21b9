"""Plain modules of sequences: embeddings, recurrent networks, experts, attention and torch.nn's Transformers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dense import mlp
from .subject import Net, Tokens, plain

Linear = nn.Linear
EMBEDDINGS, RECURRENT, EXPERTS = "embeddings as inputs", "recurrent", "experts"
TRANSFORMERS, GAINLESS = "torch.nn Transformers", "norms without gains"
WORDS = Tokens(7, 20)
SERIES = (7, 6)


@plain(EMBEDDINGS, WORDS)
def bag_of_words() -> nn.Module:
    return Net(lambda m, i: m.fc(m.embedding(i).mean(1)), embedding=nn.Embedding(20, 16), fc=Linear(16, 3))


@plain(EMBEDDINGS, WORDS)
def embeddings_flattened() -> nn.Module:
    return Net(
        lambda m, i: m.fc2(F.relu(m.fc1(m.emb(i).flatten(1)))),
        emb=nn.Embedding(20, 4), fc1=Linear(28, 16), fc2=Linear(16, 3),
    )  # fmt: skip


@plain(EMBEDDINGS, Tokens(1, 16), Tokens(1, 16))
def matrix_factorisation() -> nn.Module:
    return Net(
        lambda m, u, v: (m.users(u) * m.items(v)).sum(-1),
        users=nn.Embedding(16, 8),
        items=nn.Embedding(16, 8),
    )


@plain(EMBEDDINGS, Tokens(1, 16), Tokens(1, 16))
def neural_collaborative_filtering() -> nn.Module:
    def compute(m: Net, u: Tensor, v: Tensor) -> Tensor:
        return m.mlp(torch.cat([m.user_embedding(u), m.item_embedding(v)], -1)).squeeze(1)

    return Net(
        compute, user_embedding=nn.Embedding(16, 8), item_embedding=nn.Embedding(16, 8), mlp=mlp(16, 16, 1)
    )


@plain(EMBEDDINGS, Tokens(2, 10), (4,))
def tabular_embeddings() -> nn.Module:
    """Embeddings of categories beside numbers."""

    def compute(m: Net, i: Tensor, x: Tensor) -> Tensor:
        return m.layers(torch.cat([m.embeds[0](i[:, 0]), m.embeds[1](i[:, 1]), m.bn_cont(x)], 1))

    return Net(
        compute, embeds=nn.ModuleList(nn.Embedding(10, 6) for _ in range(2)), bn_cont=nn.BatchNorm1d(4),
        layers=mlp(16, 16, 3),
    )  # fmt: skip


@plain(EMBEDDINGS, WORDS)
def word_vectors_tied() -> nn.Module:
    return Net(
        lambda m, i: F.linear(torch.tanh(m.fc(m.emb(i).mean(1))), m.emb.weight), emb=nn.Embedding(20, 16),
        fc=Linear(16, 16),
    )  # fmt: skip


@plain(EMBEDDINGS, WORDS)
def skip_gram() -> nn.Module:
    """Two embeddings of one vocabulary."""
    return Net(
        lambda m, i: m.in_embed(i[:, :1]) @ m.out_embed(i[:, 1:]).mT, in_embed=nn.Embedding(20, 20),
        out_embed=nn.Embedding(20, 20),
    )  # fmt: skip


@plain(EMBEDDINGS, WORDS)
def convolutions_over_words() -> nn.Module:
    def compute(m: Net, i: Tensor) -> Tensor:
        x = m.embedding(i).mT
        return m.fc(torch.cat([F.relu(conv(x)).amax(2) for conv in m.convs], 1))

    return Net(
        compute, embedding=nn.Embedding(20, 8), convs=nn.ModuleList(nn.Conv1d(8, 8, k) for k in (2, 3)),
        fc=Linear(16, 3),
    )  # fmt: skip


@plain(EMBEDDINGS, WORDS)
def positions_added() -> nn.Module:
    return Net(
        lambda m, i: m.fc2(F.relu(m.fc1(m.tok(i) + m.pos.weight)).mean(1)), tok=nn.Embedding(20, 16),
        pos=nn.Embedding(7, 16), fc1=Linear(16, 16), fc2=Linear(16, 3),
    )  # fmt: skip


def last_state(net: nn.Module, x: Tensor) -> Tensor:
    """What a recurrent network gives at the last step."""
    return net(x)[0][:, -1]


@plain(RECURRENT, SERIES)
def lstm_and_head() -> nn.Module:
    return Net(
        lambda m, x: m.fc(last_state(m.lstm, x)), lstm=nn.LSTM(6, 8, 2, batch_first=True), fc=Linear(8, 3)
    )


@plain(RECURRENT, SERIES)
def lstm_relu_head() -> nn.Module:
    return Net(
        lambda m, x: m.fc2(F.relu(m.fc1(F.relu(last_state(m.lstm, x))))), lstm=nn.LSTM(6, 8, batch_first=True),
        fc1=Linear(8, 8), fc2=Linear(8, 3),
    )  # fmt: skip


@plain(RECURRENT, SERIES)
def lstm_skipped() -> nn.Module:
    """The input is added to the states."""
    return Net(
        lambda m, x: m.fc((m.lstm(x)[0] + x)[:, -1]), lstm=nn.LSTM(6, 6, batch_first=True), fc=Linear(6, 3)
    )


@plain(RECURRENT, SERIES)
def lstm_both_ways() -> nn.Module:
    return Net(
        lambda m, x: m.fc(last_state(m.lstm, x)), lstm=nn.LSTM(6, 8, batch_first=True, bidirectional=True),
        fc=Linear(16, 3),
    )  # fmt: skip


@plain(RECURRENT, SERIES)
def lstm_projected() -> nn.Module:
    return Net(
        lambda m, x: m.fc(last_state(m.lstm, x)),
        lstm=nn.LSTM(6, 8, batch_first=True, proj_size=4),
        fc=Linear(4, 3),
    )


@plain(RECURRENT, SERIES)
def gru_max_pooled() -> nn.Module:
    return Net(lambda m, x: m.fc(m.gru(x)[0].amax(1)), gru=nn.GRU(6, 8, batch_first=True), fc=Linear(8, 3))


@plain(RECURRENT, SERIES)
def elman_network() -> nn.Module:
    return Net(
        lambda m, x: m.fc(last_state(m.rnn, x)), rnn=nn.RNN(6, 8, 2, nonlinearity="relu", batch_first=True),
        fc=Linear(8, 3),
    )  # fmt: skip


@plain(RECURRENT, WORDS)
def words_lstm_all_states() -> nn.Module:
    """States and cell are joined for the head."""

    def compute(m: Net, i: Tensor) -> Tensor:
        _, (hidden, cell) = m.rnn(m.encoder(i))
        return m.decoder(torch.cat([hidden[-1], cell[-1]], 1))

    return Net(
        compute, encoder=nn.Embedding(20, 8), rnn=nn.LSTM(8, 8, 2, batch_first=True), decoder=Linear(16, 20)
    )


@plain(RECURRENT, WORDS)
def language_model_tied() -> nn.Module:
    return Net(
        lambda m, i: F.linear(m.rnn(m.encoder(i))[0], m.encoder.weight, m.bias), encoder=nn.Embedding(20, 8),
        rnn=nn.GRU(8, 8, batch_first=True), bias=torch.zeros(20),
    )  # fmt: skip


@plain(RECURRENT, (6,))
def cell_in_a_loop() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        h, c = m.start(x), torch.zeros(len(x), 8, dtype=x.dtype)
        for _ in range(3):
            h, c = m.cell(x, (h, c))
        return m.out(h)

    return Net(compute, start=Linear(6, 8), cell=nn.LSTMCell(6, 8), out=Linear(8, 3))


@plain(RECURRENT, WORDS, Tokens(5, 20))
def sequence_to_sequence() -> nn.Module:
    def compute(m: Net, i: Tensor, o: Tensor) -> Tensor:
        state = m.encoder(m.src(i))[1]
        return m.out(m.decoder(m.tgt(o), state)[0])

    return Net(
        compute, src=nn.Embedding(20, 6), tgt=nn.Embedding(20, 6), encoder=nn.GRU(6, 8, batch_first=True),
        decoder=nn.GRU(6, 8, batch_first=True), out=Linear(8, 20),
    )  # fmt: skip


@plain(RECURRENT, (3, 8, 8))
def convolutional_recurrent() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        return m.fc(last_state(m.rnn, m.cnn(x).flatten(1, 2).mT))

    return Net(
        compute, cnn=nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()), rnn=nn.GRU(16, 8, batch_first=True),
        fc=Linear(8, 3),
    )  # fmt: skip


@plain(EXPERTS, (6,))
def mixture_of_experts() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        gates = m.gate(x).softmax(-1)
        return torch.einsum("be,beo->bo", gates, torch.stack([expert(x) for expert in m.experts], 1))

    return Net(compute, gate=Linear(6, 4), experts=nn.ModuleList(mlp(6, 16, 3) for _ in range(4)))


@plain(EXPERTS, (6,))
def two_best_experts() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        best, which = m.router(x).softmax(-1).topk(2)
        outputs = torch.stack([expert(x) for expert in m.experts], 1)
        return (best[..., None] * outputs.gather(1, which[..., None].expand(-1, -1, 6))).sum(1)

    return Net(
        compute, router=Linear(6, 4, bias=False), experts=nn.ModuleList(mlp(6, 16, 6) for _ in range(4))
    )


@plain(EXPERTS, (6,))
def experts_in_one_tensor() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        hidden = F.relu(torch.einsum("bi,eio->beo", x, m.w1))
        return torch.einsum("be,beh,eho->bo", m.gate(x).softmax(-1), hidden, m.w2)

    return Net(compute, gate=Linear(6, 4), w1=torch.zeros(4, 6, 16), w2=torch.zeros(4, 16, 3))


@plain(EXPERTS, (6,), (6,))
def experts_for_two_tasks() -> nn.Module:
    def compute(m: Net, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        def one(x: Tensor, gate: nn.Module, tower: nn.Module) -> Tensor:
            outputs = torch.stack([F.relu(expert(x)) for expert in m.experts], 1)
            return tower(torch.einsum("be,beo->bo", gate(x).softmax(-1), outputs))

        return one(a, m.gates[0], m.towers[0]), one(b, m.gates[1], m.towers[1])

    return Net(
        compute, experts=nn.ModuleList(Linear(6, 8) for _ in range(3)),
        gates=nn.ModuleList(Linear(6, 3) for _ in range(2)), towers=nn.ModuleList(mlp(8, 8, 1) for _ in range(2)),
    )  # fmt: skip


@plain(TRANSFORMERS, SERIES)
def encoder_after_norms() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
    return Net(
        lambda m, x: m.head(m.encoder(m.inp(x)).mean(1)), inp=Linear(6, 16),
        encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), head=Linear(16, 3),
    )  # fmt: skip


@plain(TRANSFORMERS, SERIES)
def encoder_before_norms() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, norm_first=True, activation="gelu")
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16), enable_nested_tensor=False)
    return Net(lambda m, x: m.head(m.encoder(m.inp(x)).mean(1)), inp=Linear(6, 16), encoder=encoder,
               head=Linear(16, 3))  # fmt: skip


@plain(TRANSFORMERS, WORDS)
def encoder_of_words() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
    return Net(
        lambda m, i: m.decoder(m.transformer_encoder(m.embedding(i) + m.position)), embedding=nn.Embedding(20, 16),
        position=torch.zeros(7, 16),
        transformer_encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), decoder=Linear(16, 20),
    )  # fmt: skip


@plain(TRANSFORMERS, WORDS, Tokens(5, 20))
def full_transformer() -> nn.Module:
    return Net(
        lambda m, i, o: m.generator(m.transformer(m.src_embed(i), m.tgt_embed(o))), src_embed=nn.Embedding(20, 16),
        tgt_embed=nn.Embedding(20, 16), transformer=nn.Transformer(16, 2, 2, 2, 24, batch_first=True),
        generator=Linear(16, 20),
    )  # fmt: skip


@plain(TRANSFORMERS, (5, 16), (7, 16))
def decoder_alone() -> nn.Module:
    layer = nn.TransformerDecoderLayer(16, 2, 24, batch_first=True, norm_first=True)
    return nn.TransformerDecoder(layer, 2)


@plain(TRANSFORMERS, SERIES)
def attention_and_head() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x = m.inp(x)
        return m.head(m.attn(x, x, x)[0].mean(1))

    return Net(
        compute, inp=Linear(6, 16), attn=nn.MultiheadAttention(16, 2, batch_first=True), head=Linear(16, 3)
    )


@plain(TRANSFORMERS, SERIES)
def attention_by_hand() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x = m.inp(x)
        weights = (m.q(x) @ m.k(x).mT / 4).softmax(-1)
        return m.o(weights @ m.v(x)).mean(1)

    return Net(
        compute, inp=Linear(6, 16), q=Linear(16, 16), k=Linear(16, 16), v=Linear(16, 16), o=Linear(16, 3)
    )


@plain(TRANSFORMERS, SERIES)
def attention_pooling() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x = torch.tanh(m.fc1(x))
        return m.fc2((m.score(x).softmax(1) * x).sum(1))

    return Net(compute, fc1=Linear(6, 16), score=Linear(16, 1), fc2=Linear(16, 3))


@plain(GAINLESS, SERIES)
def layer_norm_without_gain() -> nn.Module:
    return Net(
        lambda m, x: m.head(m.fc2(F.relu(m.fc1(F.layer_norm(m.inp(x), (16,))))).mean(1)), inp=Linear(6, 16),
        fc1=Linear(16, 16), fc2=Linear(16, 16), head=Linear(16, 3),
    )  # fmt: skip


@plain(GAINLESS, (6,))
def units_on_a_sphere() -> nn.Module:
    return Net(lambda m, x: m.fc2(F.normalize(m.fc1(x), dim=1)), fc1=Linear(6, 16), fc2=Linear(16, 3))


@plain(GAINLESS, (6,))
def units_standardised() -> nn.Module:
    return Net(
        lambda m, x: m.fc3(F.relu(m.fc2(F.layer_norm(F.relu(m.fc1(x)), (16,))))),
        fc1=Linear(6, 16), fc2=Linear(16, 16), fc3=Linear(16, 3),
    )  # fmt: skip


@plain(GAINLESS, (6,))
def root_mean_square_units() -> nn.Module:
    return Net(
        lambda m, x: m.fc2((y := F.relu(m.fc1(x))) / (1e-6 + y.square().mean(1, keepdim=True)).sqrt()),
        fc1=Linear(6, 16), fc2=Linear(16, 3),
    )  # fmt: skip
