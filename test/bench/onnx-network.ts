// The published kind of network as an ONNX graph in ideal float arithmetic: the baseline of the inference figures. The time loop is unrolled;
// what does not depend on state (convolutions, the linear layer) runs for all timesteps at once, as a good user of the engine would write it.
import protobuf from 'protobufjs';

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
  message ModelProto { int64 ir_version = 1; GraphProto graph = 7; repeated OperatorSetIdProto opset_import = 8; }
`, { keepCase: true }).root;

const float32 = 1;
const int64 = 7;

export interface FloatLayer {
  readonly name: string;
  readonly type: 'convolution' | 'linear';
  /** Network units: conductance × weightScale × mask, in the order of the bundle. */
  readonly weights: Float32Array;
  readonly shape: readonly number[];
  readonly stride: number;
  readonly padding: number;
  readonly poolSize: number;
  readonly threshold: number;
  readonly leak: number;
  readonly negativeSlope: number;
}

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

/** Currents of all timesteps, [T, …], to spikes of all timesteps, in the order of operations of the published neuron. */
function lif(graph: Graph, layer: FloatLayer, currents: string, timestepCount: number): string {
  const leak = graph.tensor(`${layer.name}_leak`, [], Float32Array.of(layer.leak));
  const threshold = graph.tensor(`${layer.name}_threshold`, [], Float32Array.of(layer.threshold));
  const zero = graph.tensor(`${layer.name}_zero`, [], Float32Array.of(0));
  const slices = graph.node('Split', [currents], [integer('axis', 0), integer('num_outputs', timestepCount)], timestepCount);
  const spikes: string[] = [];
  let membrane: string | undefined;
  let fired = '';
  for (const current of slices) {
    const kept: string | undefined = membrane && graph.one('Mul', [graph.one('Where', [fired, zero, membrane]), leak]);
    membrane = graph.one('LeakyRelu', [kept ? graph.one('Add', [kept, current]) : current], [real('alpha', layer.negativeSlope)]);
    fired = graph.one('Greater', [membrane, threshold]);
    spikes.push(graph.one('Cast', [fired], [integer('to', float32)]));
  }
  return graph.one('Concat', spikes, [integer('axis', 0)]);
}

function convolution(graph: Graph, layer: FloatLayer, input: string): string {
  const weights = graph.tensor(layer.name, layer.shape, layer.weights);
  return graph.one('Conv', [input, weights], [
    integers('kernel_shape', layer.shape.slice(2)),
    integers('strides', [layer.stride, layer.stride]),
    integers('pads', [layer.padding, layer.padding, layer.padding, layer.padding]),
  ]);
}

/** The membranes of the output layer after every timestep, [T, outputs]. */
function accumulate(graph: Graph, layer: FloatLayer, input: string, timestepCount: number): string {
  const flat = graph.one('Reshape', [input, graph.tensor('flat', [2], BigInt64Array.of(BigInt(timestepCount), -1n))]);
  const weights = graph.tensor(layer.name, layer.shape, layer.weights);
  const currents = graph.one('Gemm', [flat, weights], [integer('transB', 1)]);
  const membranes: string[] = [];
  for (const current of graph.node('Split', [currents], [integer('axis', 0), integer('num_outputs', timestepCount)], timestepCount)) {
    const last = membranes.at(-1);
    membranes.push(graph.one('LeakyRelu', [last ? graph.one('Add', [last, current]) : current], [real('alpha', layer.negativeSlope)]));
  }
  return graph.one('Concat', membranes, [integer('axis', 0)]);
}

const value = (name: string, dims: readonly number[]) => ({
  name,
  type: { tensor_type: { elem_type: float32, shape: { dim: dims.map((dim_value) => ({ dim_value })) } } },
});

/** An ONNX model with input `frames` [T, C, H, W] of event counts and output `membranes` [T, outputs]. */
export function onnxNetwork(layers: readonly FloatLayer[], inputShape: readonly number[]): Uint8Array {
  const graph = new Graph();
  const timestepCount = inputShape[0] ?? 0;
  let signal = 'frames';
  for (const layer of layers.slice(0, -1)) {
    signal = lif(graph, layer, convolution(graph, layer, signal), timestepCount);
    if (layer.poolSize > 1) {
      const size = [layer.poolSize, layer.poolSize];
      signal = graph.one('AveragePool', [signal], [integers('kernel_shape', size), integers('strides', size)]);
    }
  }
  const output = layers.at(-1);
  if (output === undefined) throw new RangeError('a network has at least one layer');
  const membranes = accumulate(graph, output, signal, timestepCount);
  graph.nodes.push({ op_type: 'Identity', input: [membranes], output: ['membranes'], name: 'membranes', attribute: [] });
  const model = schema.lookupType('ModelProto');
  return model.encode(model.fromObject({
    ir_version: 9,
    opset_import: [{ domain: '', version: 18 }],
    graph: {
      name: 'prime',
      node: graph.nodes,
      initializer: graph.initializers,
      input: [value('frames', inputShape)],
      output: [value('membranes', [timestepCount, output.shape[0] ?? 0])],
    },
  })).finish();
}
