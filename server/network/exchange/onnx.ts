import protobuf from 'protobufjs';
import type { Bundle } from '../bundle.js';
import { type FloatLayer, floatLayers } from '../float-network.js';

/** The part of the ONNX schema (onnx.proto, Apache-2.0, field numbers only) that this graph needs. */
const schema = protobuf.parse(`
  syntax = "proto3";
  message AttributeProto { string name = 1; float f = 2; int64 i = 3; repeated float floats = 7; repeated int64 ints = 8; int32 type = 20; }
  message NodeProto {
    repeated string input = 1; repeated string output = 2; string name = 3; string op_type = 4; repeated AttributeProto attribute = 5;
  }
  message TensorProto { repeated int64 dims = 1; int32 data_type = 2; string name = 8; bytes raw_data = 9; }
  message Dimension { int64 dim_value = 1; }
  message TensorShapeProto { repeated Dimension dim = 1; }
  message TensorType { int32 elem_type = 1; TensorShapeProto shape = 2; }
  message TypeProto { TensorType tensor_type = 1; }
  message ValueInfoProto { string name = 1; TypeProto type = 2; }
  message GraphProto {
    repeated NodeProto node = 1; string name = 2; repeated TensorProto initializer = 5;
    repeated ValueInfoProto input = 11; repeated ValueInfoProto output = 12;
  }
  message OperatorSetIdProto { string domain = 1; int64 version = 2; }
  message StringStringEntryProto { string key = 1; string value = 2; }
  message ModelProto {
    int64 ir_version = 1; string producer_name = 2; GraphProto graph = 7; repeated OperatorSetIdProto opset_import = 8;
    repeated StringStringEntryProto metadata_props = 14;
  }
`, { keepCase: true }).root;

const float32 = 1;
const int64 = 7;

type LifNeuron = Extract<FloatLayer['layer']['neuron'], { type: 'lif' }>;
type AccumulateNeuron = Extract<FloatLayer['layer']['neuron'], { type: 'accumulate' }>;

class Graph {
  readonly nodes: object[] = [];
  readonly initializers: object[] = [];
  private count = 0;

  node(operator: string, inputs: string[], attributes: object[] = [], outputs = 1): string[] {
    const output = Array.from({ length: outputs }, () => `${operator}_${this.count++}`);
    this.nodes.push({ op_type: operator, input: inputs, output, name: output[0], attribute: attributes });
    return output;
  }

  one(operator: string, inputs: string[], attributes: object[] = []): string {
    return this.node(operator, inputs, attributes)[0] ?? '';
  }

  tensor(name: string, dims: readonly number[], values: Float32Array | BigInt64Array): string {
    const raw_data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.initializers.push({ name, dims, data_type: values instanceof Float32Array ? float32 : int64, raw_data });
    return name;
  }
}

const integers = (name: string, ints: readonly number[]) => ({ name, ints, type: 7 });
const integer = (name: string, i: number) => ({ name, i, type: 2 });
const real = (name: string, f: number) => ({ name, f, type: 1 });

/** Timestep by timestep through what carries state. @returns what `step` made of each, [T, …] */
function overTime(graph: Graph, currents: string, timestepCount: number, step: (current: string) => string): string {
  const slices = graph.node('Split', [currents], [integer('axis', 0), integer('num_outputs', timestepCount)], timestepCount);
  return graph.one('Concat', slices.map(step), [integer('axis', 0)]);
}

/** Spikes of all timesteps, in the order of operations of the published neuron: reset, leak, current, LeakyReLU, threshold. */
function lif(graph: Graph, name: string, neuron: LifNeuron, currents: string, timestepCount: number): string {
  const constant = (what: string, value: number) => graph.tensor(`${name}.${what}`, [], Float32Array.of(value));
  const [leak, threshold, zero] = [constant('leak', neuron.leak), constant('threshold', neuron.threshold), constant('zero', 0)];
  let last: { membrane: string; fired: string } | undefined;
  return overTime(graph, currents, timestepCount, (current) => {
    const kept = last && graph.one('Mul', [graph.one('Where', [last.fired, zero, last.membrane]), leak]);
    const membrane = graph.one('LeakyRelu', [kept ? graph.one('Add', [kept, current]) : current], [real('alpha', neuron.negativeSlope)]);
    const fired = graph.one('Greater', [membrane, threshold]);
    last = { membrane, fired };
    return graph.one('Cast', [fired], [integer('to', float32)]);
  });
}

/** The membranes after every timestep: no leak, no reset, no spike. */
function accumulate(graph: Graph, { negativeSlope }: AccumulateNeuron, currents: string, timestepCount: number): string {
  let last: string | undefined;
  return overTime(graph, currents, timestepCount, (current) =>
    (last = graph.one('LeakyRelu', [last ? graph.one('Add', [last, current]) : current], [real('alpha', negativeSlope)])));
}

/** The currents of a layer, all timesteps at once. */
function multiply(graph: Graph, { name, layer, weights, shape }: FloatLayer, input: string, timestepCount: number): string {
  const tensor = graph.tensor(`${name}.weight`, shape, weights);
  if (layer.type === 'linear') {
    const flat = graph.tensor(`${name}.flat`, [2], BigInt64Array.of(BigInt(timestepCount), -1n));
    return graph.one('Gemm', [graph.one('Reshape', [input, flat]), tensor], [integer('transB', 1)]);
  }
  const { kernel, stride, padding } = layer;
  return graph.one('Conv', [input, tensor], [
    integers('kernel_shape', [kernel, kernel]), integers('strides', [stride, stride]), integers('pads', [padding, padding, padding, padding]),
  ]);
}

function pooled(graph: Graph, size: number, signal: string): string {
  return graph.one('AveragePool', [signal], [integers('kernel_shape', [size, size]), integers('strides', [size, size])]);
}

const value = (name: string, dims: readonly number[]) => ({
  name,
  type: { tensor_type: { elem_type: float32, shape: { dim: dims.map((dim_value) => ({ dim_value })) } } },
});

/**
 * The masked network of a bundle as an ONNX model (operator set 18) in float32: input `frames` [T, channels, height, width] of event counts, output
 * `membranes` [T, outputs] after every timestep. The time loop is unrolled, so that any runtime takes it; what carries no state (convolutions, linear
 * layers, pools) runs for all timesteps at once. The metadata hold `network.json`.
 *
 * @throws MacroError BAD_BUNDLE where the weights are on a chip
 */
export function writeOnnx(bundle: Omit<Bundle, 'digest'>): Uint8Array {
  const { timestepCount, input: { channels, height, width } } = bundle.network;
  const graph = new Graph();
  let signal = 'frames';
  let outputs = 0;
  for (const floatLayer of floatLayers(bundle)) {
    const { name, layer: { neuron }, geometry } = floatLayer;
    const currents = multiply(graph, floatLayer, signal, timestepCount);
    const isOutput = neuron.type === 'accumulate';
    signal = isOutput ? accumulate(graph, neuron, currents, timestepCount) : lif(graph, name, neuron, currents, timestepCount);
    if (geometry.poolSize > 1) signal = pooled(graph, geometry.poolSize, signal);
    outputs = geometry.outputChannels;
  }
  graph.nodes.push({ op_type: 'Identity', input: [signal], output: ['membranes'], name: 'membranes', attribute: [] });
  const model = schema.lookupType('ModelProto');
  return model.encode(model.fromObject({
    ir_version: 9,
    producer_name: 'prime-hil',
    opset_import: [{ domain: '', version: 18 }],
    metadata_props: [{ key: 'network.json', value: JSON.stringify(bundle.network) }],
    graph: {
      name: bundle.network.name,
      node: graph.nodes,
      initializer: graph.initializers,
      input: [value('frames', [timestepCount, channels, height, width])],
      output: [value('membranes', [timestepCount, outputs])],
    },
  })).finish();
}
