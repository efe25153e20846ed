import Type, { type Static } from 'typebox';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { integerFrom, layerInputs, layerName, layerOutputs, type Network, type NetworkLayer, strict } from './network.js';
import { describeRequirement, type NetworkRequirement, type RequirementTarget, requirementOf } from './requirement.js';

const lines = Type.Array(integerFrom(0, sourceLineCount - 1), {
  minItems: 1,
  maxItems: sourceLineCount / 2,
  description: `a list of 1 to ${sourceLineCount / 2} source lines`,
});

export const tilePlacementSchema = strict({
  firstInput: integerFrom(0, bitLineCount * 32),
  inputCount: integerFrom(1, bitLineCount),
  firstBitLine: integerFrom(0, bitLineCount - 1),
  plusLines: lines,
  minusLines: lines,
});

export const layerPlacementSchema = strict({
  layer: layerName,
  tiles: Type.Array(tilePlacementSchema, { minItems: 1, maxItems: sourceLineCount / 2, description: 'a list of tiles' }),
});

/**
 * Where a block of weights sits: input `firstInput + r` of output `o` is the pair of cells (bit line `firstBitLine + r`, source line
 * `plusLines[o]`) and (the same bit line, `minusLines[o]`).
 */
export type TilePlacement = Static<typeof tilePlacementSchema>;
export type LayerPlacement = Static<typeof layerPlacementSchema>;

export interface ArrayGeometry {
  readonly bitLines: number;
  readonly sourceLines: number;
}

export interface PlacementTarget {
  readonly geometry: ArrayGeometry;
  /** Lines with a cell at or above the top code: a multiply would add its current to every sum. */
  readonly blockedSourceLines?: ReadonlySet<number>;
}

/**
 * The lines that may be used, plus and minus in turn. Neighbours from an even line on come first, because they age and drift together;
 * lines whose neighbour is blocked are paired with each other at the end.
 */
function freeLines({ geometry, blockedSourceLines }: PlacementTarget): number[] {
  const isFree = (line: number) => line < geometry.sourceLines && !blockedSourceLines?.has(line);
  const lines = Array.from({ length: geometry.sourceLines }, (_, line) => line).filter(isFree);
  const hasNeighbour = (line: number) => isFree(line ^ 1);
  return [...lines.filter(hasNeighbour), ...lines.filter((line) => !hasNeighbour(line))];
}

/** @throws MacroError NETWORK_TOO_LARGE with what every layer would need, where the source lines do not suffice */
export function checkFits(network: Network, target: RequirementTarget): NetworkRequirement {
  const needed = requirementOf(network, target);
  if (!needed.isFitting) throw new MacroError('NETWORK_TOO_LARGE', `${network.name} needs ${describeRequirement(needed)}`);
  return needed;
}

/**
 * Gives every weight its two cells. A layer with more inputs than the array has bit lines is cut into tiles, whose partial sums are added
 * digitally. Each tile has source lines of its own, plus before minus; blocked lines are passed over.
 *
 * @throws MacroError NETWORK_TOO_LARGE where the source lines do not suffice
 */
export function placeNetwork(network: Network, target: PlacementTarget): LayerPlacement[] {
  const { geometry } = target;
  const free = freeLines(target);
  checkFits(network, { bitLines: geometry.bitLines, sourceLines: free.length });
  let taken = 0;
  const placeTile = (layer: NetworkLayer, firstInput: number): TilePlacement => {
    const own = free.slice(taken, (taken += 2 * layerOutputs(layer)));
    return {
      firstInput,
      inputCount: Math.min(geometry.bitLines, layerInputs(layer) - firstInput),
      firstBitLine: 0,
      plusLines: own.filter((_, index) => index % 2 === 0),
      minusLines: own.filter((_, index) => index % 2 === 1),
    };
  };
  return network.layers.map((layer) => {
    const tileCount = Math.ceil(layerInputs(layer) / geometry.bitLines);
    return { layer: layer.name, tiles: Array.from({ length: tileCount }, (_, tile) => placeTile(layer, tile * geometry.bitLines)) };
  });
}

function checkTile(tile: TilePlacement, layer: NetworkLayer, nextInput: number, geometry: ArrayGeometry): string | undefined {
  const outputs = layerOutputs(layer);
  if (tile.firstInput !== nextInput) return `firstInput must be ${nextInput}`;
  if (tile.plusLines.length !== outputs) return `plusLines must hold ${outputs} lines`;
  if (tile.minusLines.length !== outputs) return `minusLines must hold ${outputs} lines`;
  if (tile.firstBitLine + tile.inputCount > geometry.bitLines) return `inputCount leaves the ${geometry.bitLines} bit lines`;
  const outside = [...tile.plusLines, ...tile.minusLines].find((line) => line >= geometry.sourceLines);
  return outside === undefined ? undefined : `line ${outside} leaves the ${geometry.sourceLines} source lines`;
}

function claim(tile: TilePlacement, geometry: ArrayGeometry, taken: Uint8Array): string | undefined {
  for (const line of [...tile.plusLines, ...tile.minusLines]) {
    for (let bitLine = tile.firstBitLine; bitLine < tile.firstBitLine + tile.inputCount; bitLine += 1) {
      const cell = bitLine * geometry.sourceLines + line;
      if (taken[cell] === 1) return `uses the cell of bit line ${bitLine} and source line ${line} twice`;
      taken[cell] = 1;
    }
  }
  return undefined;
}

/**
 * Checks that a placement gives each weight of the network exactly one pair, and each cell to one weight at most.
 *
 * @param file the file that the placement comes from, for messages
 * @throws MacroError BAD_BUNDLE naming file and field
 */
export function checkPlacements(placements: readonly LayerPlacement[], network: Network, geometry: ArrayGeometry, file: string): void {
  const refuse = (field: string, problem: string): never => {
    throw new MacroError('BAD_BUNDLE', `${file}: ${field} ${problem}`, { field });
  };
  if (placements.length !== network.layers.length) refuse('placements', `must hold ${network.layers.length} layers`);
  const taken = new Uint8Array(geometry.bitLines * geometry.sourceLines);
  network.layers.forEach((layer, index) => {
    const field = `placements[${index}]`;
    const placement = placements[index];
    if (placement.layer !== layer.name) refuse(`${field}.layer`, `must be "${layer.name}"`);
    let nextInput = 0;
    placement.tiles.forEach((tile, tileIndex) => {
      const problem = checkTile(tile, layer, nextInput, geometry) ?? claim(tile, geometry, taken);
      if (problem !== undefined) refuse(`${field}.tiles[${tileIndex}]`, `is wrong: ${problem}`);
      nextInput += tile.inputCount;
    });
    if (nextInput !== layerInputs(layer)) refuse(`${field}.tiles`, `hold ${nextInput} inputs, the layer has ${layerInputs(layer)}`);
  });
}
