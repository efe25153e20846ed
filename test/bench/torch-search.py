"""The topology search of PRIME in PyTorch, on conductances that it is given: the baseline of `train-epoch` and of the accuracy on a chip.

Reads one JSON object a line: first what to search on, then one for each epoch or test. Writes one JSON object a line.
"""
import json
import sys
import time

import numpy
import torch
from torch.nn import functional


class Spike(torch.autograd.Function):
    """1 above the threshold; backwards, 1 where the membrane is within 0.5 of it."""

    @staticmethod
    def forward(context, distance):
        context.save_for_backward(distance)
        return (distance > 0).float()

    @staticmethod
    def backward(context, gradient):
        (distance,) = context.saved_tensors
        return gradient * (distance.abs() < 0.5).float()


class Kept(torch.autograd.Function):
    """The mask of |score|, over the pairs that have a device; backwards straight through."""

    @staticmethod
    def forward(context, sizes, is_healthy, sparsity):
        eligible = sizes[is_healthy]
        limit = torch.kthvalue(eligible, 1 + int(round(sparsity * (eligible.numel() - 1)))).values
        return ((sizes >= limit) & is_healthy).float()

    @staticmethod
    def backward(context, gradient):
        return gradient, None, None


class Search(torch.nn.Module):
    def __init__(self, bench):
        super().__init__()
        self.layers = bench["layers"]
        self.scores = torch.nn.ParameterList()
        self.weights, self.healthy = [], []
        for layer in self.layers:
            weights = torch.from_numpy(numpy.load(layer["weights"]))
            scores = torch.empty_like(weights)
            torch.nn.init.kaiming_uniform_(scores, a=5 ** 0.5)
            self.scores.append(torch.nn.Parameter(scores))
            self.weights.append(weights)
            self.healthy.append(torch.from_numpy(numpy.load(layer["healthy"])).bool())

    def synapses(self):
        return [weights * Kept.apply(scores.abs(), healthy, layer["sparsity"])
                for weights, scores, healthy, layer in zip(self.weights, self.scores, self.healthy, self.layers)]

    def forward(self, frames):
        """Time mean of the output membranes. frames: recordings × T × C × H × W."""
        synapses = self.synapses()
        membranes, spikes = [0.0] * len(self.layers), [0.0] * len(self.layers)
        total = 0.0
        for timestep in range(frames.shape[1]):
            signal = frames[:, timestep]
            for index, layer in enumerate(self.layers):
                if layer["type"] == "linear":
                    current = functional.linear(signal.flatten(1), synapses[index])
                else:
                    current = functional.conv2d(signal, synapses[index], stride=layer["stride"], padding=layer["padding"])
                if layer["threshold"] is None:
                    membranes[index] = functional.leaky_relu(membranes[index] + current, layer["slope"])
                    continue
                membrane = membranes[index] * (1 - spikes[index]) * layer["leak"] + current
                membranes[index] = functional.leaky_relu(membrane, layer["slope"])
                spikes[index] = Spike.apply(membranes[index] - layer["threshold"])
                signal = functional.avg_pool2d(spikes[index], layer["pool"]) if layer["pool"] > 1 else spikes[index]
            total = total + membranes[-1]
        return total / frames.shape[1]


def main():
    bench = json.loads(sys.stdin.readline())
    torch.set_num_threads(bench["threads"])
    torch.manual_seed(bench["seed"])
    frames = torch.from_numpy(numpy.load(bench["frames"])).float()
    labels = torch.from_numpy(numpy.load(bench["labels"])).long()
    search = Search(bench)
    adam = torch.optim.Adam(search.parameters(), lr=bench["learningRate"], weight_decay=bench["weightDecay"])
    steps = bench["epochs"] * -(-len(frames) // bench["batchSize"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps))
    print(json.dumps({"ready": torch.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        start, correct, loss_sum = time.perf_counter(), 0, 0.0
        if asked["task"] == "epoch":
            for batch in torch.randperm(len(frames)).split(bench["batchSize"]):
                outputs = search(frames[batch])
                loss = functional.cross_entropy(outputs, labels[batch])
                adam.zero_grad()
                loss.backward()
                adam.step()
                schedule.step()
                loss_sum += loss.item() * len(batch)
                correct += (outputs.argmax(1) == labels[batch]).sum().item()
            count = len(frames)
        else:
            tested = torch.from_numpy(numpy.load(asked["frames"])).float()
            truth = torch.from_numpy(numpy.load(asked["labels"])).long()
            count = len(tested)
            with torch.no_grad():
                for batch in torch.arange(count).split(100):
                    correct += (search(tested[batch]).argmax(1) == truth[batch]).sum().item()
        print(json.dumps({"seconds": time.perf_counter() - start, "accuracy": correct / count, "correct": correct, "loss": loss_sum / count}), flush=True)


main()
