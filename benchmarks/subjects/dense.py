"""Plain modules of linear layers: chains with a catch, several networks in one file, tied layers, autoencoders."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .subject import Net, plain

Linear, Sequential = nn.Linear, nn.Sequential
SEVERAL, TIED, CHAINS = "several networks in one file", "tied or repeated layers", "chains"
AUTOENCODERS, LINEAR = "autoencoders", "deep linear networks"


def mlp(*sizes: int, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for into, out in pairwise(sizes):
        layers += [Linear(into, out), act()]
    return Sequential(*layers[:-1])


@plain(CHAINS, (6,))
def relu_chain() -> nn.Module:
    return mlp(6, 16, 16, 3)


@plain(CHAINS, (6,))
def numbered_layers() -> nn.Module:
    return Net(
        lambda m, x: m.fc3(torch.tanh(m.fc2(F.relu(m.fc1(x))))),
        fc1=Linear(6, 16), fc2=Linear(16, 12), fc3=Linear(12, 3),
    )  # fmt: skip


@plain(CHAINS, (6,))
def activations_that_are_not_named() -> nn.Module:
    return Sequential(Linear(6, 16), nn.GELU(), Linear(16, 16), nn.Sigmoid(), Linear(16, 3))


@plain(CHAINS, (6,))
def softmax_inside() -> nn.Module:
    return Sequential(Linear(6, 16), nn.Softmax(-1), Linear(16, 3))


@plain(CHAINS, (6,))
def prelu_of_each_unit() -> nn.Module:
    return Sequential(Linear(6, 16), nn.PReLU(16), Linear(16, 3))


@plain(CHAINS, (6,))
def prelu_shared() -> nn.Module:
    return Sequential(Linear(6, 16), nn.PReLU(), Linear(16, 3))


@plain(CHAINS, (6,))
def maxout() -> nn.Module:
    return Net(
        lambda m, x: m.out(m.hidden(x).unflatten(-1, (8, 2)).amax(-1)), hidden=Linear(6, 16), out=Linear(8, 3)
    )


@plain(CHAINS, (6,))
def glu() -> nn.Module:
    return Net(lambda m, x: m.out(F.glu(m.hidden(x))), hidden=Linear(6, 16), out=Linear(8, 3))


@plain(CHAINS, (6,))
def positions_of_units() -> nn.Module:
    """A hidden layer whose units get different activations by their position."""
    return Net(
        lambda m, x: m.out(torch.cat([torch.relu(m.hidden(x)[:, :8]), torch.tanh(m.hidden(x)[:, 8:])], 1)),
        hidden=Linear(6, 16), out=Linear(16, 3),
    )  # fmt: skip


@plain(CHAINS, (6,))
def cumulative_units() -> nn.Module:
    return Net(lambda m, x: m.out(m.hidden(x).cumsum(-1)), hidden=Linear(6, 16), out=Linear(16, 3))


@plain(CHAINS, (6,))
def hidden_is_output() -> nn.Module:
    """The hidden layer is among the outputs."""
    return Net(lambda m, x: (m.fc1(x).relu(), m.fc2(m.fc1(x).relu())), fc1=Linear(6, 16), fc2=Linear(16, 3))


@plain(CHAINS, (6,))
def square_all_through() -> nn.Module:
    return mlp(6, 6, 6, 6)


@plain(CHAINS, (6,))
def layers_in_reverse() -> nn.Module:
    return Net(
        lambda m, x: m.fc1(F.relu(m.fc2(F.relu(m.fc3(x))))),
        fc1=Linear(16, 6), fc2=Linear(16, 16), fc3=Linear(6, 16),
    )  # fmt: skip


@plain(CHAINS, (6,))
def layer_norm_between() -> nn.Module:
    return Sequential(Linear(6, 16), nn.LayerNorm(16), nn.ReLU(), Linear(16, 3))


@plain(CHAINS, (6,))
def group_norm_between() -> nn.Module:
    return Sequential(Linear(6, 16), nn.GroupNorm(4, 16), nn.ReLU(), Linear(16, 3))


@plain(SEVERAL, (6,), (20,))
def gan() -> nn.Module:
    return Net(
        lambda m, z, x: (m.generator(z), m.discriminator(x)),
        generator=Sequential(Linear(6, 16), nn.ReLU(), Linear(16, 20), nn.Tanh()),
        discriminator=Sequential(Linear(20, 16), nn.LeakyReLU(0.2), Linear(16, 1)),
    )


@plain(SEVERAL, (6,), (20,))
def gan_under_short_names() -> nn.Module:
    return Net(lambda m, z, x: (m.G(z), m.D(x)), G=mlp(6, 16, 20), D=mlp(20, 16, 1))


@plain(SEVERAL, (6,), (6,))
def cycle_gan() -> nn.Module:
    return Net(lambda m, a, b: (m.netG_A(a), m.netG_B(b)), netG_A=mlp(6, 16, 6), netG_B=mlp(6, 16, 6))


@plain(SEVERAL, (6,))
def actor_critic() -> nn.Module:
    return Net(lambda m, x: (m.actor(x), m.critic(x)), actor=mlp(6, 16, 16, 4), critic=mlp(6, 16, 16, 1))


@plain(SEVERAL, (16,))
def actor_critic_of_equal_widths() -> nn.Module:
    return Net(
        lambda m, x: (m.actor(x), m.critic(x)), actor=mlp(16, 16, 16, act=nn.Tanh), critic=mlp(16, 16, 1)
    )


@plain(SEVERAL, (6,))
def stable_baselines_policy() -> nn.Module:
    def compute(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        return m.action_net(m.mlp_extractor.policy_net(x)), m.value_net(m.mlp_extractor.value_net(x))

    def towers() -> nn.Module:
        return nn.ModuleDict({
            name: Sequential(Linear(6, 16), nn.Tanh(), Linear(16, 16), nn.Tanh())
            for name in ("policy_net", "value_net")
        })  # fmt: skip

    return Net(
        compute, mlp_extractor=towers(), action_net=Linear(16, 4), value_net=Linear(16, 1),
        log_std=torch.zeros(4),
    )  # fmt: skip


@plain(SEVERAL, (6,))
def online_and_target() -> nn.Module:
    return Net(lambda m, x: (m.online(x), m.target(x)), online=mlp(6, 16, 4), target=mlp(6, 16, 4))


@plain(SEVERAL, (6,))
def ensemble() -> nn.Module:
    return Net(
        lambda m, x: torch.stack([one(x) for one in m.models]).mean(0),
        models=nn.ModuleList(mlp(6, 16, 6) for _ in range(3)),
    )


@plain(SEVERAL, (16,))
def ensemble_of_single_layers() -> nn.Module:
    return Net(
        lambda m, x: sum(one(x).relu() for one in m.fc), fc=nn.ModuleList(Linear(16, 16) for _ in range(3))
    )


@plain(SEVERAL, (6,), (6,))
def teacher_and_student() -> nn.Module:
    return Net(lambda m, a, b: (m.teacher(a), m.student(b)), teacher=mlp(6, 16, 16), student=mlp(6, 16, 16))


@plain(SEVERAL, (6,), (8,))
def two_towers_for_retrieval() -> nn.Module:
    return Net(
        lambda m, a, b: (F.normalize(m.query(a), dim=1) * F.normalize(m.item(b), dim=1)).sum(1),
        query=mlp(6, 16, 8), item=mlp(8, 16, 8),
    )  # fmt: skip


@plain(SEVERAL, (6,), (16,))
def hypernetwork() -> nn.Module:
    def compute(m: Net, z: Tensor, x: Tensor) -> Tensor:
        weight = m.hyper(z).unflatten(1, (16, 16))
        return m.out(F.relu(torch.einsum("boi,bi->bo", weight, x)))

    return Net(compute, hyper=mlp(6, 8, 256), out=Linear(16, 3))


@plain(TIED, (6,), (6,))
def siamese() -> nn.Module:
    return Net(
        lambda m, a, b: m.head(torch.abs(m.encoder(a) - m.encoder(b))), encoder=mlp(6, 16, 8),
        head=Linear(8, 1),
    )  # fmt: skip


@plain(TIED, (6,), (6,))
def siamese_joined() -> nn.Module:
    return Net(
        lambda m, a, b: m.head(torch.cat([m.encoder(a), m.encoder(b)], 1)), encoder=mlp(6, 16, 8),
        head=Linear(16, 1),
    )  # fmt: skip


@plain(TIED, (6,))
def repeated_layer() -> nn.Module:
    """One layer applied three times."""

    def compute(m: Net, x: Tensor) -> Tensor:
        x = F.relu(m.fc1(x))
        for _ in range(3):
            x = F.relu(m.fc2(x))
        return m.fc3(x)

    return Net(compute, fc1=Linear(6, 16), fc2=Linear(16, 16), fc3=Linear(16, 3))


@plain(TIED, (6,))
def tied_autoencoder() -> nn.Module:
    return Net(
        lambda m, x: F.linear(F.relu(m.encoder(x)), m.encoder.weight.t()) + m.bias,
        encoder=Linear(6, 16), bias=torch.zeros(6),
    )  # fmt: skip


@plain(TIED, (6,))
def shared_under_two_names() -> nn.Module:
    shared = Linear(16, 16)
    return Net(
        lambda m, x: m.fc4(F.relu(m.fc3(F.relu(m.fc2(F.relu(m.fc1(x))))))),
        fc1=Linear(6, 16), fc2=shared, fc3=shared, fc4=Linear(16, 3),
    )  # fmt: skip


@plain(TIED, (16,))
def deep_equilibrium() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        z = torch.zeros_like(x)
        for _ in range(4):
            z = torch.tanh(m.fc1(z) + x)
        return m.fc2(z)

    return Net(compute, fc1=Linear(16, 16), fc2=Linear(16, 3))


@plain(AUTOENCODERS, (12,))
def autoencoder() -> nn.Module:
    return Net(lambda m, x: m.decoder(m.encoder(x)), encoder=mlp(12, 16, 4), decoder=mlp(4, 16, 12))


@plain(AUTOENCODERS, (12,))
def autoencoder_that_gives_its_code() -> nn.Module:
    return Net(
        lambda m, x: (code := m.encoder(x), m.decoder(code)), encoder=mlp(12, 16, 4), decoder=mlp(4, 16, 12)
    )


@plain(AUTOENCODERS, (12,))
def variational_autoencoder() -> nn.Module:
    def compute(m: Net, x: Tensor) -> tuple[Tensor, ...]:
        y = F.relu(m.fc1(x))
        mean, log_variance = m.fc21(y), m.fc22(y)
        return m.fc4(F.relu(m.fc3(mean))), mean, log_variance

    return Net(
        compute, fc1=Linear(12, 16), fc21=Linear(16, 4), fc22=Linear(16, 4), fc3=Linear(4, 16),
        fc4=Linear(16, 12),
    )  # fmt: skip


@plain(AUTOENCODERS, (12,))
def sparse_autoencoder() -> nn.Module:
    """A dictionary whose bias is taken off first."""
    return Net(
        lambda m, x: F.relu((x - m.b_dec) @ m.W_enc + m.b_enc) @ m.W_dec + m.b_dec,
        W_enc=torch.zeros(12, 32), b_enc=torch.zeros(32), W_dec=torch.zeros(32, 12), b_dec=torch.zeros(12),
    )  # fmt: skip


@plain(LINEAR, (6,))
def deep_linear() -> nn.Module:
    return Sequential(*(Linear(a, b) for a, b in ((6, 16), (16, 16), (16, 3))))


@plain(LINEAR, (6,))
def deep_linear_without_biases() -> nn.Module:
    return Sequential(*(Linear(a, b, bias=False) for a, b in ((6, 32), (32, 32), (32, 3))))


@plain(LINEAR, (6,))
def low_rank_pairs() -> nn.Module:
    return Sequential(
        Linear(6, 2, bias=False), Linear(2, 16), nn.ReLU(), Linear(16, 2, bias=False), Linear(2, 3)
    )
