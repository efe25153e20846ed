import { parse, View } from 'vega';
import type { RuleSweep } from './sweep.js';

const axes = [
  { orient: 'bottom', scale: 'x', title: 'mean timesteps', grid: true },
  { orient: 'left', scale: 'y', title: 'accuracy', format: '.1%', grid: true },
];

/** Accuracy over mean timesteps, a line a rule, as SVG. @param title what was swept */
export function frontierChart(sweeps: readonly RuleSweep[], title: string): Promise<string> {
  const values = sweeps.flatMap(({ rule, points }) => points.map(({ accuracy, meanTimesteps }) => ({ rule, accuracy, meanTimesteps })));
  const scale = (name: string, range: string, field: string) => ({ name, type: 'linear', range, domain: { data: 'points', field }, zero: false, nice: true });
  const at = { x: { scale: 'x', field: 'meanTimesteps' }, y: { scale: 'y', field: 'accuracy' } };
  const color = { scale: 'color', field: 'rule' };
  return new View(parse({
    width: 560, height: 360, padding: 12, background: 'white', title, axes: axes as never,
    data: [{ name: 'points', values }],
    scales: [
      scale('x', 'width', 'meanTimesteps') as never, scale('y', 'height', 'accuracy') as never,
      { name: 'color', type: 'ordinal', domain: { data: 'points', field: 'rule' }, range: 'category' },
    ],
    legends: [{ stroke: 'color', title: 'rule', symbolType: 'stroke' }],
    marks: [{
      type: 'group', from: { facet: { name: 'line', data: 'points', groupby: 'rule' } },
      marks: [
        { type: 'line', from: { data: 'line' }, encode: { enter: { ...at, stroke: color, strokeWidth: { value: 2 } } } },
        { type: 'symbol', from: { data: 'line' }, encode: { enter: { ...at, fill: color, size: { value: 24 } } } },
      ],
    }],
  }), { renderer: 'none' }).toSVG();
}
