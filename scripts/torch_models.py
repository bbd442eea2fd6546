"""torchvision's and timm's networks with random values, and their files, to compare ported weights with.

    python scripts/torch_models.py FOLDER

writes each network's state dict (.pth), safetensors file and activations (.npz). A process of its own: PyTorch and JAX
in one process share badly.
"""

import pathlib
import sys
import unittest.mock

import numpy as np


def import_models():
    """torch, torchvision and timm; torchvision also where its compiled operators do not load.

    A torchvision built for GPUs does not load them beside a PyTorch built for CPUs. The networks need none of them, but
    the import describes each, and fails.
    """
    import torch

    def ignored(*_, **__):
        return lambda function: function

    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        with unittest.mock.patch.object(torch.library, "register_fake", ignored):
            import torchvision
    import timm

    return torch, torchvision, timm


def randomise(torch, network, seed):
    """Random values for all parameters and running statistics, such that no stage dies out."""
    torch.manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if tensor.ndim > 1:
            fan_in = tensor[0].numel()
            tensor.normal_(0, (2 / fan_in) ** 0.5)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("weight"):
            tensor.uniform_(0.7, 1.2)
        else:
            tensor.normal_(0, 0.2)


def vgg_convolutions(torch, network, x, instance):
    """Output of each convolution [N, H, W, D], before its normalisation and ReLU, by order.

    Args:
        instance: Whether batch normalisation takes each image's own statistics, as in the authors' script.
    """
    found, y = [], x
    for layer in network.features:
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.train(instance)
        y = layer(y)
        if isinstance(layer, torch.nn.Conv2d):
            found.append(y.detach().permute(0, 2, 3, 1).numpy().copy())
    return found


def write_vgg(folder, libraries, name, seed):
    """The files of vgg16 or vgg16_bn, from torchvision and from timm."""
    torch, torchvision, timm = libraries
    import safetensors.torch

    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for library, make in (
        ("torchvision", torchvision.models.__dict__[name]),
        ("timm", lambda **options: timm.create_model(name, **options)),
    ):
        network = make(weights=None) if library == "torchvision" else make(pretrained=False)
        with torch.no_grad():
            randomise(torch, network, seed)
            state = {k: v.clone() for k, v in network.state_dict().items() if k.startswith("features.")}
            torch.save(state, folder / f"{library}-{name}.pth")
            safetensors.torch.save_file(state, folder / f"{library}-{name}.safetensors")
            layers = vgg_convolutions(torch, network.eval(), (x - mean) / std, instance=name.endswith("bn"))
        held = {f"layer_{i:02d}": value for i, value in enumerate(layers)}
        np.savez(folder / f"{library}-{name}.npz", x=x.permute(0, 2, 3, 1).numpy(), **held)


def watch_stages(network):
    """A dict that a forward pass fills with the output of each mixed stage, by name."""
    stages = {}
    for name, child in network.named_children():
        if name.startswith("Mixed_"):
            child.register_forward_hook(lambda _, __, y, name=name: stages.__setitem__(name, y))
    return stages


def write_inception(folder, libraries, seed):
    """The files of inception_v3, from torchvision and from timm."""
    torch, torchvision, timm = libraries
    import safetensors.torch

    x = 2 * torch.rand(1, 3, 107, 107, generator=torch.Generator().manual_seed(6)) - 1
    options = {"weights": None, "init_weights": False, "num_classes": 5, "aux_logits": True}
    made = {"torchvision": torchvision.models.inception_v3(**options),
            "timm": timm.create_model("inception_v3", pretrained=False, num_classes=5)}  # fmt: skip
    for library, network in made.items():
        stages = watch_stages(network)
        with torch.no_grad():
            randomise(torch, network, seed)
            state = {k: v.clone() for k, v in network.state_dict().items()}
            torch.save(state, folder / f"{library}-inception_v3.pth")
            safetensors.torch.save_file(state, folder / f"{library}-inception_v3.safetensors")
            logits = network.eval()(x).numpy()
        held = {name: value.permute(0, 2, 3, 1).numpy() for name, value in stages.items()}
        np.savez(folder / f"{library}-inception_v3.npz", x=x.permute(0, 2, 3, 1).numpy(), logits=logits, **held)


if __name__ == "__main__":
    target, models = pathlib.Path(sys.argv[1]), import_models()
    for number, kind in enumerate(("vgg16", "vgg16_bn")):
        write_vgg(target, models, kind, number)
    write_inception(target, models, 2)
