// Writes the golden vectors as a C header for the tests. Usage: node vectors.mjs VECTORS_FOLDER > vectors.h
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
const read = (name) => JSON.parse(readFileSync(join(folder, name), 'utf8'));
const frames = read('frames.json');
const vectors = read('numerics.json');
const types = ['HELLO', 'HELLO_ACK', 'RESET', 'DATA', 'ACK', 'DATAGRAM', 'LOG', 'ESTOP'];

const text = (value) => JSON.stringify(value);
const word = (digits) => `0x${digits}u`;
const wide = (value) => (value === -(2 ** 31) ? 'INT64_C(-2147483648)' : `INT64_C(${value})`);
const narrow = (value) => (value === -(2 ** 31) ? 'INT32_MIN' : String(value));
const list = (rows, one) => rows.map(one).join(',\n  ');
const array = (type, name, rows, one) => console.log(`static const ${type} ${name}[] = {\n  ${list(rows, one)},\n};`);
const numbers = (type, name, values, one = String) => console.log(`static const ${type} ${name}[] = {${values.map(one).join(', ')}};`);

console.log('/* Made by tools/vectors.mjs from firmware-protocol/vectors. */\n#include <stdint.h>');
console.log('struct golden_frame {\n  const char *name;\n  uint8_t type, flags;\n  uint32_t session;\n  uint16_t sequence, acknowledge, credit;');
console.log('  uint32_t selective;\n  const char *payload_hex, *wire_hex;\n};');
array('struct golden_frame', 'golden_frames', frames, ({ name, header: h, payloadHex, wireHex }) =>
  `{${text(name)}, ${types.indexOf(h.type)}, ${h.flags}, ${h.session}u, ${h.sequence}, ${h.acknowledge}, ${h.credit}, ${h.selective}u,\n   ` +
  `${text(payloadHex)},\n   ${text(wireHex)}}`);
array('struct { int64_t value; uint32_t shift; int64_t result; }', 'rounding_vectors', vectors.rounding, ([v, s, r]) => `{${wide(v)}, ${s}, ${wide(r)}}`);
array('struct { int64_t value; uint32_t multiplier, shift; int64_t result; }', 'scale_vectors', vectors.scale, ([v, m, s, r]) =>
  `{${wide(v)}, ${m}, ${s}, ${wide(r)}}`);
array('struct { uint32_t rounds, counter[4], key[2], result[4]; }', 'philox_vectors', vectors.philox, (p) =>
  `{${p.rounds}, {${p.counter.map(word)}}, {${p.key.map(word)}}, {${p.result.map(word)}}}`);
array('struct { uint32_t word; int32_t deviate; }', 'gaussian_vectors', vectors.gaussian, ([w, d]) => `{${word(w)}, ${d}}`);
array('struct { int64_t sum, noise_256; uint32_t gain_q20; int32_t offset; int64_t result; }', 'conversion_vectors', vectors.conversion,
  ([sum, noise, gain, offset, result]) => `{${wide(sum)}, ${wide(noise)}, ${gain}, ${offset}, ${wide(result)}}`);
const { lif, confidence } = vectors;
console.log(`static const struct { int32_t threshold; uint32_t leak, slope, shift; } lif_parameters = {${lif.threshold}, ${lif.leak}, ${lif.slope}, ${lif.shift}};`);
numbers('int32_t', 'lif_currents', lif.currents, narrow);
numbers('int32_t', 'lif_membranes', lif.membranes, narrow);
numbers('uint8_t', 'lif_spikes', lif.spikes);
console.log(`static const struct { uint32_t multiplier, shift, outputs; } confidence_parameters = {${confidence.multiplier}, ${confidence.shift}, ` +
  `${confidence.membranes[0].length}};`);
numbers('int32_t', 'confidence_membranes', confidence.membranes.flat(), narrow);
numbers('uint32_t', 'confidence_results', confidence.confidenceQ24);
numbers('uint32_t', 'entropy_results', confidence.entropyQ24);
numbers('uint32_t', 'margin_results', confidence.marginQ24);
numbers('uint32_t', 'relative_margin_results', confidence.relativeMarginQ24);
