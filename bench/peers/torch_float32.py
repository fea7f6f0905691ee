"""PyTorch in float32: `nn.Sequential`, autograd and `optim.SGD`."""

import numpy as np
import torch

torch.set_num_threads(1)


class Trainer:
    """A ReLU network with a linear last layer, trained by mini-batches."""

    def __init__(self, weights, biases, lr_shift, batch_size):
        layers = []
        for w, b in zip(weights, biases, strict=True):
            layer = torch.nn.Linear(w.shape[1], w.shape[0])
            layer.weight.data = torch.from_numpy(w.astype(np.float32))
            layer.bias.data = torch.from_numpy(b.astype(np.float32))
            layers += [layer, torch.nn.ReLU()]
        self.net = torch.nn.Sequential(*layers[:-1])
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=2.0**-lr_shift)
        self.batch_size = batch_size

    def data(self, x, y):
        return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32))

    def epoch(self, data):
        x, y = data
        for start in range(0, len(x), self.batch_size):
            self.optimizer.zero_grad()
            output = self.net(x[start : start + self.batch_size])
            target = y[start : start + self.batch_size]
            loss = torch.nn.functional.mse_loss(output, target, reduction="sum") / 2
            loss.backward()
            self.optimizer.step()

    def parameters(self):
        layers = self.net[::2]
        tensors = [layer.weight for layer in layers] + [layer.bias for layer in layers]
        return [tensor.detach().numpy() for tensor in tensors]
