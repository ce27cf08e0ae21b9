"""Plain modules of linear layers that branch: residual, parallel and joined streams."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dense import mlp
from .subject import Net, plain

Linear = nn.Linear
RESIDUAL, PARALLEL, JOINED = "residual branches", "parallel branches", "concatenation"


def added(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """A stream through blocks that add to it."""
    for block in blocks:
        x = x + block(x)
    return x


@plain(RESIDUAL, (6,))
def residual_mlp() -> nn.Module:
    return Net(
        lambda m, x: m.fc_out(added(m.blocks, m.fc_in(x))),
        fc_in=Linear(6, 16), blocks=nn.ModuleList(mlp(16, 16, 16) for _ in range(2)), fc_out=Linear(16, 3),
    )  # fmt: skip


@plain(RESIDUAL, (6,))
def residual_mlp_flat_names() -> nn.Module:
    return Net(
        lambda m, x: m.fc4((y := m.fc1(x)) + m.fc3(F.relu(m.fc2(y)))),
        fc1=Linear(6, 16), fc2=Linear(16, 16), fc3=Linear(16, 16), fc4=Linear(16, 3),
    )  # fmt: skip


@plain(RESIDUAL, (6,))
def residual_inside_sequential() -> nn.Module:
    def block() -> nn.Module:
        return Net(lambda m, x: x + m.net(x), net=mlp(16, 16, 16))

    return nn.Sequential(Linear(6, 16), block(), block(), Linear(16, 3))


@plain(RESIDUAL, (6,))
def residual_from_the_input() -> nn.Module:
    """The input is added to the hidden units."""
    return Net(
        lambda m, x: m.fc3(F.relu(m.fc2(F.relu(m.fc1(x)) + x))),
        fc1=Linear(6, 6), fc2=Linear(6, 6), fc3=Linear(6, 3),
    )  # fmt: skip


@plain(RESIDUAL, (6,))
def residual_to_the_output() -> nn.Module:
    return Net(lambda m, x: x + m.fc2(F.relu(m.fc1(x))), fc1=Linear(6, 16), fc2=Linear(16, 6))


@plain(RESIDUAL, (6,))
def scaled_residual() -> nn.Module:
    return Net(
        lambda m, x: m.out((y := m.inner(x)) + m.alpha * m.block(y)),
        inner=Linear(6, 16), block=mlp(16, 16, 16), out=Linear(16, 3), alpha=torch.ones(1),
    )  # fmt: skip


@plain(RESIDUAL, (6,))
def highway() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x = m.fc0(x)
        gate = torch.sigmoid(m.fc1(x))
        return m.fc3(gate * F.relu(m.fc2(x)) + (1 - gate) * x)

    return Net(compute, fc0=Linear(6, 16), fc1=Linear(16, 16), fc2=Linear(16, 16), fc3=Linear(16, 3))


@plain(RESIDUAL, (6,))
def dense_connections() -> nn.Module:
    return Net(
        lambda m, x: m.fc3(torch.cat([y := torch.cat([x, F.relu(m.fc1(x))], 1), F.relu(m.fc2(y))], 1)),
        fc1=Linear(6, 4), fc2=Linear(10, 5), fc3=Linear(15, 3),
    )  # fmt: skip


@plain(RESIDUAL, (6,))
def nerf_skip() -> nn.Module:
    """The input comes in again in the middle."""
    return Net(
        lambda m, x: m.layers[3](
            F.relu(m.layers[2](torch.cat([F.relu(m.layers[1](F.relu(m.layers[0](x)))), x], 1)))
        ),
        layers=nn.ModuleList([Linear(6, 16), Linear(16, 16), Linear(22, 16), Linear(16, 3)]),
    )


@plain(PARALLEL, (6,))
def parallel_layers() -> nn.Module:
    return Net(
        lambda m, x: m.fc4(F.relu(m.fc1(x)) + F.relu(m.fc2(x)) * torch.tanh(m.fc3(x))),
        fc1=Linear(6, 6), fc2=Linear(6, 6), fc3=Linear(6, 6), fc4=Linear(6, 3),
    )  # fmt: skip


@plain(PARALLEL, (6,))
def gated_ffn_of_llama() -> nn.Module:
    return Net(
        lambda m, x: m.ffn.w2(F.silu(m.ffn.w1(m.inp(x))) * m.ffn.w3(m.inp(x))),
        inp=Linear(6, 16),
        ffn=nn.ModuleDict({f"w{n}": Linear(16, 16, bias=False) for n in (1, 2, 3)}),
    )  # fmt: skip


@plain(PARALLEL, (6,))
def two_towers_multiplied() -> nn.Module:
    return Net(lambda m, x: m.a(x) * m.b(x), a=mlp(6, 16, 4), b=mlp(6, 16, 4))


@plain(PARALLEL, (6,))
def several_heads() -> nn.Module:
    return Net(
        lambda m, x: tuple(head(F.relu(m.trunk(x))) for head in m.heads),
        trunk=Linear(6, 16), heads=nn.ModuleList(Linear(16, 16) for _ in range(3)),
    )  # fmt: skip


@plain(PARALLEL, (6,))
def mean_and_deviation() -> nn.Module:
    def compute(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.relu(m.fc1(x))
        return m.fc_mu(y), m.fc_var(y).exp()

    return Net(compute, fc1=Linear(6, 16), fc_mu=Linear(16, 16), fc_var=Linear(16, 16))


@plain(PARALLEL, (6,))
def dueling_q_network() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        y = F.relu(m.feature(x))
        advantage = m.advantage(y)
        return m.value(y) + advantage - advantage.mean(1, keepdim=True)

    return Net(compute, feature=Linear(6, 16), advantage=mlp(16, 16, 4), value=mlp(16, 16, 1))


@plain(PARALLEL, (6,))
def two_linear_layers_added() -> nn.Module:
    return Net(lambda m, x: m.fc3(F.relu(m.fc1(x) + m.fc2(x))), fc1=Linear(6, 16), fc2=Linear(6, 16),
               fc3=Linear(16, 3))  # fmt: skip


@plain(PARALLEL, (6,))
def film() -> nn.Module:
    """Features scaled and shifted by what another layer says."""
    return Net(
        lambda m, x: m.fc4(F.relu(m.fc2(x) * m.fc1(x) + m.fc3(x))),
        fc1=Linear(6, 16), fc2=Linear(6, 16), fc3=Linear(6, 16), fc4=Linear(16, 3),
    )  # fmt: skip


@plain(JOINED, (6,))
def joined_branches() -> nn.Module:
    return Net(
        lambda m, x: m.out(torch.cat([F.relu(m.left(x)), F.relu(m.right(x))], 1)),
        left=Linear(6, 8), right=Linear(6, 8), out=Linear(16, 3),
    )  # fmt: skip


@plain(JOINED, (6,), (4,))
def joined_inputs() -> nn.Module:
    """A critic that reads state and action."""
    return Net(lambda m, s, a: m.q(torch.cat([s, a], 1)), q=mlp(10, 16, 16, 1))


@plain(JOINED, (6,), (16,))
def action_joined_later() -> nn.Module:
    return Net(
        lambda m, s, a: m.fc3(F.relu(m.fc2(torch.cat([F.relu(m.fc1(s)), a], 1)))),
        fc1=Linear(6, 16), fc2=Linear(32, 16), fc3=Linear(16, 1),
    )  # fmt: skip


@plain(JOINED, (6,))
def concatenated_relu() -> nn.Module:
    return Net(
        lambda m, x: m.fc2(torch.cat([F.relu(y := m.fc1(x)), F.relu(-y)], 1)),
        fc1=Linear(6, 8), fc2=Linear(16, 3),
    )  # fmt: skip


@plain(JOINED, (6,))
def halves_for_two_layers() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        first, second = F.relu(m.fc1(x)).chunk(2, 1)
        return m.fc2(first) + m.fc3(second)

    return Net(compute, fc1=Linear(6, 16), fc2=Linear(8, 8), fc3=Linear(8, 8))
