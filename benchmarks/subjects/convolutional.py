"""Plain modules of convolutions: norms in odd places, pooling, flattening, transposed convolutions, U-Nets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .subject import Net, plain

Conv, Up, Norm, Linear, Sequential = nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.Linear, nn.Sequential
NORMS, POOLS, FLATTENED = "BatchNorm away from its layer", "pooling", "flattening"
TRANSPOSED, U_NETS, RESIDUAL = "transposed convolutions", "U-Nets", "convolutional residual branches"
GROUPED = "grouped and depthwise convolutions"
IMAGE = (3, 8, 8)


def head(channels: int) -> tuple[nn.Module, ...]:
    """Average pooling and a classifier."""
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(channels, 3)


@plain(NORMS, IMAGE)
def norm_then_activation() -> nn.Module:
    return Sequential(Conv(3, 8, 3), Norm(8), nn.ReLU(), Conv(8, 8, 3), Norm(8), nn.ReLU(), *head(8))


@plain(NORMS, IMAGE)
def activation_then_norm() -> nn.Module:
    return Sequential(Conv(3, 8, 3), nn.ReLU(), Norm(8), Conv(8, 8, 3), nn.ReLU(), Norm(8), *head(8))


@plain(NORMS, IMAGE)
def activation_then_norm_named() -> nn.Module:
    return Net(
        lambda m, x: m.fc(m.bn2(F.relu(m.conv2(m.bn1(F.relu(m.conv1(x)))))).mean((2, 3))),
        conv1=Conv(3, 8, 3), bn1=Norm(8), conv2=Conv(8, 8, 3), bn2=Norm(8), fc=Linear(8, 3),
    )  # fmt: skip


@plain(NORMS, IMAGE)
def norm_before_the_layer() -> nn.Module:
    return Sequential(
        Norm(3), nn.ReLU(), Conv(3, 8, 3), Norm(8), nn.ReLU(), Conv(8, 8, 3), nn.Flatten(), Linear(128, 3)
    )


@plain(NORMS, (6,))
def norm_of_units_after_activation() -> nn.Module:
    return Sequential(Linear(6, 16), nn.ReLU(), nn.BatchNorm1d(16), Linear(16, 16), nn.ReLU(),
                      nn.BatchNorm1d(16), Linear(16, 3))  # fmt: skip


@plain(NORMS, (6,))
def norm_of_the_input() -> nn.Module:
    return Sequential(nn.BatchNorm1d(6), Linear(6, 16), nn.ReLU(), Linear(16, 3))


@plain(NORMS, (6,))
def norm_of_the_output() -> nn.Module:
    return Sequential(Linear(6, 16), nn.ReLU(), Linear(16, 3), nn.BatchNorm1d(3))


@plain(NORMS, IMAGE)
def norms_without_gains() -> nn.Module:
    return Sequential(
        Conv(3, 8, 3), Norm(8, affine=False), nn.ReLU(), Conv(8, 8, 3), Norm(8, affine=False), *head(8)
    )


@plain(NORMS, IMAGE)
def one_norm_used_twice() -> nn.Module:
    return Net(
        lambda m, x: m.fc(F.relu(m.bn(m.conv2(F.relu(m.bn(m.conv1(x)))))).mean((2, 3))),
        conv1=Conv(3, 8, 3), conv2=Conv(8, 8, 3), bn=Norm(8), fc=Linear(8, 3),
    )  # fmt: skip


@plain(NORMS, IMAGE)
def group_and_instance_norms() -> nn.Module:
    return Sequential(
        Conv(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), Conv(8, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.ReLU(),
        Conv(8, 8, 3), nn.Flatten(), Linear(32, 3),
    )  # fmt: skip


@plain(POOLS, IMAGE)
def max_pooling() -> nn.Module:
    return Sequential(
        Conv(3, 8, 3, padding=1), nn.MaxPool2d(2), Conv(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), Linear(32, 3),
    )  # fmt: skip


@plain(POOLS, IMAGE)
def average_and_maximum_joined() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x = F.relu(m.conv(x))
        return m.fc(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))

    return Net(compute, conv=Conv(3, 8, 3), fc=Linear(16, 3))


@plain(POOLS, IMAGE)
def pooling_across_channels() -> nn.Module:
    """Pairs of neighbouring channels are pooled."""
    return Net(
        lambda m, x: m.fc(F.relu(m.conv(x)).unflatten(1, (8, 2)).amax(2).mean((2, 3))),
        conv=Conv(3, 16, 3), fc=Linear(8, 3),
    )  # fmt: skip


@plain(POOLS, IMAGE)
def spatial_pyramid() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x = F.relu(m.conv(x))
        return m.fc(torch.cat([F.adaptive_max_pool2d(x, n).flatten(1) for n in (1, 2)], 1))

    return Net(compute, conv=Conv(3, 8, 3), fc=Linear(40, 3))


@plain(POOLS, IMAGE)
def local_response_norm() -> nn.Module:
    """Neighbouring channels normalise one another, as in AlexNet."""
    return Sequential(Conv(3, 8, 3), nn.ReLU(), nn.LocalResponseNorm(3, alpha=1.0), Conv(8, 8, 3), *head(8))


@plain(FLATTENED, IMAGE)
def flattened() -> nn.Module:
    return Sequential(Conv(3, 8, 3), nn.ReLU(), Conv(8, 8, 3), nn.ReLU(), nn.Flatten(), Linear(128, 16), nn.ReLU(),
                      Linear(16, 3))  # fmt: skip


@plain(FLATTENED, IMAGE)
def flattened_channels_last() -> nn.Module:
    return Net(
        lambda m, x: m.fc(F.relu(m.conv(x)).permute(0, 2, 3, 1).flatten(1)),
        conv=Conv(3, 8, 3),
        fc=Linear(288, 3),
    )


@plain(FLATTENED, IMAGE)
def flattened_square_channels_last() -> nn.Module:
    """As many channels as positions."""
    return Net(
        lambda m, x: m.fc2(F.relu(m.fc1(F.relu(m.conv(x)).permute(0, 2, 3, 1).flatten(1)))),
        conv=Conv(3, 4, 3, stride=4), fc1=Linear(16, 16), fc2=Linear(16, 3),
    )  # fmt: skip


@plain(FLATTENED, IMAGE)
def pixels_shuffled() -> nn.Module:
    return Sequential(
        Conv(3, 16, 3, padding=1), nn.ReLU(), Conv(16, 12, 3, padding=1), nn.PixelShuffle(2), Conv(3, 3, 3)
    )


@plain(FLATTENED, IMAGE)
def channels_shuffled() -> nn.Module:
    return Sequential(
        Conv(3, 8, 1), nn.ReLU(), nn.ChannelShuffle(2), Conv(8, 8, 3, groups=2), nn.ReLU(), *head(8)
    )


@plain(FLATTENED, IMAGE)
def tokens_of_patches() -> nn.Module:
    """Channels become the size of tokens; positions are added."""
    return Net(
        lambda m, x: m.head((m.patch(x).flatten(2).transpose(1, 2) + m.positions).relu().mean(1)),
        patch=Conv(3, 16, 2, stride=2), positions=torch.zeros(1, 16, 16), head=Linear(16, 3),
    )  # fmt: skip


@plain(FLATTENED, (3, 20))
def flattened_sequence() -> nn.Module:
    return Sequential(
        nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.ReLU(), nn.Flatten(), Linear(128, 3)
    )


@plain(TRANSPOSED, (6,))
def dcgan_generator() -> nn.Module:
    return Net(
        lambda m, z: m.main(z[:, :, None, None]),
        main=Sequential(
            Up(6, 8, 4, bias=False), Norm(8), nn.ReLU(), Up(8, 8, 4, 2, 1, bias=False), Norm(8), nn.ReLU(),
            Up(8, 3, 4, 2, 1, bias=False), nn.Tanh(),
        ),
    )  # fmt: skip


@plain(TRANSPOSED, (8, 3, 3))
def square_transposed() -> nn.Module:
    return Sequential(Up(8, 8, 3), nn.ReLU(), Up(8, 8, 3), nn.ReLU(), Up(8, 8, 3))


@plain(TRANSPOSED, (8, 3, 3))
def square_transposed_between_convolutions() -> nn.Module:
    return Sequential(Conv(8, 8, 3, padding=1), nn.ReLU(), Up(8, 8, 3), nn.ReLU(), Conv(8, 3, 3))


@plain(TRANSPOSED, (3, 8, 8))
def convolutional_autoencoder() -> nn.Module:
    return Net(
        lambda m, x: m.decoder(m.encoder(x)),
        encoder=Sequential(Conv(3, 8, 3, 2, 1), nn.ReLU(), Conv(8, 8, 3, 2, 1), nn.ReLU()),
        decoder=Sequential(Up(8, 8, 2, 2), nn.ReLU(), Up(8, 3, 2, 2), nn.Sigmoid()),
    )


@plain(TRANSPOSED, (8, 6))
def transposed_sequence() -> nn.Module:
    return Sequential(nn.ConvTranspose1d(8, 8, 4, 2), nn.LeakyReLU(0.2), nn.ConvTranspose1d(8, 8, 4, 2))


@plain(TRANSPOSED, (8, 3, 3))
def grouped_transposed() -> nn.Module:
    return Sequential(Up(8, 8, 2, 2, groups=8), nn.ReLU(), Conv(8, 3, 1))


@plain(U_NETS, IMAGE)
def u_net() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x1 = m.enc1(x)
        x2 = m.enc2(F.max_pool2d(x1, 2))
        return m.out(m.dec1(torch.cat([m.up1(x2), x1], 1)))

    def double(a: int, b: int) -> nn.Module:
        return Sequential(Conv(a, b, 3, padding=1), Norm(b), nn.ReLU(), Conv(b, b, 3, padding=1), nn.ReLU())

    return Net(
        compute,
        enc1=double(3, 8),
        enc2=double(8, 16),
        up1=Up(16, 8, 2, 2),
        dec1=double(16, 8),
        out=Conv(8, 2, 1),
    )


@plain(U_NETS, IMAGE)
def u_net_that_adds() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x1 = F.relu(m.down1(x))
        x2 = F.relu(m.down2(x1))
        return m.out(F.relu(m.up2(x2)) + x1)

    return Net(
        compute, down1=Conv(3, 8, 3, 1, 1), down2=Conv(8, 8, 3, 2, 1), up2=Up(8, 8, 2, 2), out=Conv(8, 2, 1)
    )


@plain(U_NETS, IMAGE)
def u_net_upsampled() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x1 = F.relu(m.conv1(x))
        x2 = F.interpolate(F.relu(m.conv2(F.avg_pool2d(x1, 2))), scale_factor=2)
        return m.conv4(F.relu(m.conv3(torch.cat([x2, x1], 1))))

    return Net(compute, conv1=Conv(3, 8, 3, 1, 1), conv2=Conv(8, 8, 3, 1, 1), conv3=Conv(16, 8, 3, 1, 1),
               conv4=Conv(8, 2, 1))  # fmt: skip


@plain(RESIDUAL, IMAGE)
def edsr() -> nn.Module:
    def block() -> nn.Module:
        return Net(lambda m, x: x + 0.1 * m.body(x), body=Sequential(
            Conv(8, 8, 3, padding=1), nn.ReLU(), Conv(8, 8, 3, padding=1)
        ))  # fmt: skip

    return Net(
        lambda m, x: m.tail((y := m.head(x)) + m.body(y)),
        head=Conv(3, 8, 3, padding=1), body=Sequential(block(), block(), Conv(8, 8, 3, padding=1)),
        tail=Sequential(Conv(8, 12, 3, padding=1), nn.PixelShuffle(2), Conv(3, 3, 3, padding=1)),
    )  # fmt: skip


@plain(RESIDUAL, IMAGE)
def residual_of_sequentials() -> nn.Module:
    def block() -> nn.Module:
        return Net(lambda m, x: F.relu(x + m.conv(x)), conv=Sequential(
            Conv(8, 8, 3, padding=1, bias=False), Norm(8), nn.ReLU(), Conv(8, 8, 3, padding=1, bias=False), Norm(8)
        ))  # fmt: skip

    return Sequential(Conv(3, 8, 3), nn.ReLU(), block(), block(), *head(8))


@plain(RESIDUAL, IMAGE)
def resnet_nine() -> nn.Module:
    """Blocks of a Sequential, some of which are added to what they read."""

    def conv(a: int, b: int) -> nn.Module:
        return Sequential(Conv(a, b, 3, padding=1), Norm(b), nn.ReLU())

    def compute(m: Net, x: Tensor) -> Tensor:
        x = m.conv2(m.conv1(x))
        x = m.res1(x) + x
        return m.classifier(F.max_pool2d(m.conv3(x), 2))

    return Net(
        compute, conv1=conv(3, 8), conv2=conv(8, 8), res1=Sequential(conv(8, 8), conv(8, 8)), conv3=conv(8, 8),
        classifier=Sequential(*head(8)),
    )  # fmt: skip


@plain(RESIDUAL, IMAGE)
def squeeze_and_excite() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x = F.relu(m.conv1(x))
        gate = torch.sigmoid(m.fc2(F.relu(m.fc1(x.mean((2, 3))))))
        return m.conv2(x * gate[:, :, None, None])

    return Net(compute, conv1=Conv(3, 8, 3), fc1=Linear(8, 8), fc2=Linear(8, 8), conv2=Conv(8, 3, 3))


@plain(RESIDUAL, IMAGE)
def denoising_by_subtraction() -> nn.Module:
    return Net(lambda m, x: x - m.dncnn(x), dncnn=Sequential(
        Conv(3, 8, 3, padding=1), nn.ReLU(), Conv(8, 8, 3, padding=1), Norm(8), nn.ReLU(), Conv(8, 3, 3, padding=1)
    ))  # fmt: skip


@plain(RESIDUAL, (8, 20))
def temporal_convolutions() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        for conv, dilation in zip(m.convs, (1, 2), strict=True):
            x = F.relu(conv(F.pad(x, (2 * dilation, 0))) + x)
        return m.out(x[:, :, -1])

    return Net(compute, convs=nn.ModuleList(nn.Conv1d(8, 8, 3, dilation=d) for d in (1, 2)), out=Linear(8, 3))


@plain(RESIDUAL, (1, 40))
def wavenet_gates() -> nn.Module:
    def compute(m: Net, x: Tensor) -> Tensor:
        x, skip = m.start(x), torch.zeros((), dtype=x.dtype)
        for conv, residual, out in zip(m.convs, m.residuals, m.skips, strict=True):
            y = torch.tanh(conv(x)) * torch.sigmoid(conv(x))
            x, skip = x + residual(y), skip + out(y)
        return m.end(F.relu(skip))

    def several(kernel: int) -> nn.ModuleList:
        return nn.ModuleList(nn.Conv1d(8, 8, kernel, padding=kernel // 2) for _ in range(2))

    return Net(compute, start=nn.Conv1d(1, 8, 1), convs=several(3), residuals=several(1), skips=several(1),
               end=nn.Conv1d(8, 4, 1))  # fmt: skip


@plain(GROUPED, IMAGE)
def depthwise_separable() -> nn.Module:
    return Sequential(
        Conv(3, 8, 3, padding=1), Norm(8), nn.ReLU(), Conv(8, 8, 3, padding=1, groups=8), Norm(8), nn.ReLU(),
        Conv(8, 8, 1), Norm(8), nn.ReLU(), *head(8),
    )  # fmt: skip


@plain(GROUPED, IMAGE)
def depthwise_multiplied() -> nn.Module:
    """Two output channels for each input channel."""
    return Sequential(Conv(3, 8, 1), nn.ReLU(), Conv(8, 16, 3, groups=8), nn.ReLU(), *head(16))


@plain(GROUPED, IMAGE)
def grouped() -> nn.Module:
    return Sequential(
        Conv(3, 16, 1), nn.ReLU(), Conv(16, 16, 3, groups=4), nn.ReLU(), Conv(16, 16, 1), *head(16)
    )


@plain(GROUPED, (16,))
def square_one_by_one() -> nn.Module:
    """Convolutions of single positions whose shapes fit in any order."""
    return Net(
        lambda m, x: m.conv3(F.relu(m.conv1(F.relu(m.conv2(x[:, :, None, None]))))).flatten(1),
        conv1=Conv(16, 16, 1), conv2=Conv(16, 16, 1), conv3=Conv(16, 16, 1),
    )  # fmt: skip
