// The array as a network of resistors: what every source line collects when lines and multiplexers have a resistance. MODEL.md, "Resistance of
// lines and multiplexers", gives the equations. line-resistance.as.ts does the same two sweeps with SIMD, bit for bit.

/** A crossbar whose bit lines are driven, and whose source lines are collected at a virtual ground, at the cell with index 0. */
export interface Crossbar {
  readonly bitLineCount: number;
  readonly sourceLineCount: number;
  /** Conductance of cells in siemens, bit line × sourceLineCount + source line. */
  readonly conductancesSiemens: Float64Array;
  /** Wire before each cell of a bit line, the first counted from the driver. Above 0. */
  readonly bitLineOhmsPerCell: number;
  /** Wire after each cell of a source line, the last counted up to the virtual ground. Above 0. */
  readonly sourceLineOhmsPerCell: number;
  /** In series with each bit line at its driven end: the multiplexer. At least 0. */
  readonly driverOhms: number;
}

/** What the sweeps work on: one value a cell, padded to multiples of `lineGroup`. Padding conducts nothing and lies at the far ends. */
export interface CrossbarFields {
  readonly bitLineCount: number;
  readonly sourceLineCount: number;
  /** Conductance of cells times the geometric mean of the two ohms per cell; what couples the two voltages of a cell. */
  readonly coupling: Float64Array;
  /** Inverse pivots of the bit lines' tridiagonal matrices, eliminated from the far end. */
  readonly bitPivots: Float64Array;
  /** The same of the source lines. */
  readonly sourcePivots: Float64Array;
  /** Preconditioned residual. */
  readonly residual: Float64Array;
  /** Search direction. */
  readonly search: Float64Array;
  /** What the bit lines send to the source lines in answer to the search direction. */
  readonly answer: Float64Array;
  /** Voltage of each bit line at its driven end in answer to the search direction. */
  readonly drivenEnds: Float64Array;
}

/** The two line sweeps in which a conjugate-gradient iteration consists. */
export interface Sweeps {
  readonly fields: CrossbarFields;
  /** Makes both kinds of pivots from the coupling. */
  factorise(driverScale: number, bitScale: number, sourceScale: number): void;
  /** search = residual + beta · search, answer = H T_b⁻¹ H search, drivenEnds. @returns search · answer */
  alongBitLines(beta: number): number;
  /** v = T_s⁻¹ answer, residual −= alpha · (search − v); answer becomes v. @returns (old answer) · v */
  alongSourceLines(alpha: number): number;
}

/** Lines that a SIMD sweep takes at once. */
export const lineGroup = 8;

const padded = (lines: number) => Math.ceil(lines / lineGroup) * lineGroup;

/** The sweeps in plain TypeScript: the reference, and what runs where nobody has brought the compiled ones. */
export class ReferenceSweeps implements Sweeps {
  readonly fields: CrossbarFields;
  private readonly voltages: Float64Array;

  constructor(bitLineCount: number, sourceLineCount: number) {
    this.fields = crossbarFields(bitLineCount, sourceLineCount, (count) => new Float64Array(count));
    this.voltages = new Float64Array(sourceLineCount);
  }

  factorise(driverScale: number, bitScale: number, sourceScale: number): void {
    const { bitLineCount, sourceLineCount, coupling, bitPivots, sourcePivots } = this.fields;
    for (let row = 0; row < bitLineCount; row += 1) {
      const first = row * sourceLineCount;
      let beyond = 1; // the farthest cell has no wire beyond it
      for (let column = sourceLineCount - 1; column > 0; column -= 1) {
        beyond = 1 / (2 + bitScale * coupling[first + column] - beyond);
        bitPivots[first + column] = beyond;
      }
      bitPivots[first] = 1 / (1 + driverScale + bitScale * coupling[first] - beyond);
    }
    for (let column = 0; column < sourceLineCount; column += 1) {
      let beyond = 1;
      for (let cell = (bitLineCount - 1) * sourceLineCount + column; cell >= 0; cell -= sourceLineCount) {
        beyond = 1 / (2 + sourceScale * coupling[cell] - beyond);
        sourcePivots[cell] = beyond;
      }
    }
  }

  alongBitLines(beta: number): number {
    const { bitLineCount } = this.fields;
    let total = 0;
    for (let row = 0; row < bitLineCount; row += 1) total += this.alongBitLine(row, beta);
    return total;
  }

  private alongBitLine(row: number, beta: number): number {
    const { sourceLineCount, coupling, bitPivots, residual, search, answer, drivenEnds } = this.fields;
    const { voltages } = this;
    const first = row * sourceLineCount;
    let voltage = 0;
    for (let column = sourceLineCount - 1; column >= 0; column -= 1) {
      const cell = first + column;
      const direction = residual[cell] + beta * search[cell];
      search[cell] = direction;
      voltage = (coupling[cell] * direction + voltage) * bitPivots[cell];
      voltages[column] = voltage;
    }
    drivenEnds[row] = voltage;
    voltage = 0;
    let evenProduct = 0;
    let oddProduct = 0;
    for (let column = 0; column < sourceLineCount; column += 2) {
      const even = first + column;
      const odd = even + 1;
      const evenVoltage = voltages[column] + bitPivots[even] * voltage;
      voltage = voltages[column + 1] + bitPivots[odd] * evenVoltage;
      answer[even] = coupling[even] * evenVoltage;
      answer[odd] = coupling[odd] * voltage;
      evenProduct += search[even] * answer[even];
      oddProduct += search[odd] * answer[odd];
    }
    return evenProduct + oddProduct;
  }

  alongSourceLines(alpha: number): number {
    let total = 0;
    for (let column = 0; column < this.fields.sourceLineCount; column += 1) total += this.alongSourceLine(column, alpha);
    return total;
  }

  private alongSourceLine(column: number, alpha: number): number {
    const { bitLineCount, sourceLineCount, sourcePivots, residual, search, answer } = this.fields;
    let product = 0;
    let voltage = 0;
    for (let cell = (bitLineCount - 1) * sourceLineCount + column; cell >= 0; cell -= sourceLineCount) {
      const sum = answer[cell] + voltage;
      voltage = sum * sourcePivots[cell];
      product += sum * voltage;
      answer[cell] = voltage;
    }
    voltage = 0;
    for (let cell = column; cell < bitLineCount * sourceLineCount; cell += sourceLineCount) {
      voltage = answer[cell] + sourcePivots[cell] * voltage;
      answer[cell] = voltage;
      residual[cell] -= alpha * (search[cell] - voltage);
    }
    return product;
  }
}

/** Fields in a memory of the caller's choice. @param take gives room for so many zeros */
export function crossbarFields(bitLineCount: number, sourceLineCount: number, take: (count: number) => Float64Array): CrossbarFields {
  const cells = () => take(bitLineCount * sourceLineCount);
  return {
    bitLineCount, sourceLineCount, coupling: cells(), bitPivots: cells(), sourcePivots: cells(), residual: cells(), search: cells(), answer: cells(),
    drivenEnds: take(bitLineCount),
  };
}

/** Makes sweeps for so many padded lines. */
export type SweepsMaker = (bitLineCount: number, sourceLineCount: number) => Sweeps;

export const referenceSweeps: SweepsMaker = (bitLineCount, sourceLineCount) => new ReferenceSweeps(bitLineCount, sourceLineCount);

let usualSweeps = referenceSweeps;

/** Which sweeps solvers take from now on. All give the same bits, so this changes nothing but how long they take. */
export function useSweeps(makeSweeps: SweepsMaker): void {
  usualSweeps = makeSweeps;
}

export interface Accuracy {
  /** Where the iteration ends: norm of the residual against that of the start. */
  readonly residualFraction: number;
  readonly iterationLimit: number;
}

/** Currents of source lines are then exact to 1e-6 of themselves, up to 100 ohms a cell. */
export const currentAccuracy: Accuracy = { residualFraction: 1e-8, iterationLimit: 2000 };

/** A column holds one large entry at the source line's own end, against which the far cells' share of the residual is small. */
export const columnAccuracy: Accuracy = { residualFraction: 1e-10, iterationLimit: 2000 };

/**
 * Solves one crossbar for many drives. Bit lines are eliminated exactly, which leaves (T_s − H T_b⁻¹ H) S = b for the source lines' voltages;
 * conjugate gradients solve that with T_s, the source lines alone, as preconditioner. Each iteration is one exact solve along each bit line
 * and one along each source line.
 */
export class CrossbarSolver {
  /** Of the last solve. */
  iterations = 0;

  private readonly sweeps: Sweeps;
  private readonly driverScale: number;
  private readonly meanOhms: number;

  constructor(private readonly crossbar: Crossbar, makeSweeps = usualSweeps) {
    const { bitLineOhmsPerCell, sourceLineOhmsPerCell, driverOhms } = crossbar;
    this.sweeps = makeSweeps(padded(crossbar.bitLineCount), padded(crossbar.sourceLineCount));
    this.driverScale = bitLineOhmsPerCell / (bitLineOhmsPerCell + driverOhms);
    this.meanOhms = Math.sqrt(bitLineOhmsPerCell * sourceLineOhmsPerCell);
    this.refresh();
  }

  /** Takes over what the crossbar's cells conduct now. */
  refresh(): void {
    const { bitLineOhmsPerCell, sourceLineOhmsPerCell } = this.crossbar;
    this.setCoupling();
    this.sweeps.factorise(this.driverScale, bitLineOhmsPerCell / this.meanOhms, sourceLineOhmsPerCell / this.meanOhms);
  }

  private setCoupling(): void {
    const { bitLineCount, sourceLineCount, conductancesSiemens } = this.crossbar;
    const { coupling, sourceLineCount: stride } = this.sweeps.fields;
    for (let row = 0; row < bitLineCount; row += 1) {
      for (let column = 0; column < sourceLineCount; column += 1) {
        coupling[row * stride + column] = conductancesSiemens[row * sourceLineCount + column] * this.meanOhms;
      }
    }
  }

  /**
   * @param volts one a bit line, behind its driver; 0 where it is grounded
   * @returns amperes out of each source line
   */
  currents(volts: ArrayLike<number>, accuracy = currentAccuracy): Float64Array {
    const { sourceLineCount } = this.crossbar;
    const { search } = this.sweeps.fields;
    this.answerDrivers(volts);
    const currents = new Float64Array(sourceLineCount);
    this.iterate(accuracy, (alpha) => {
      for (let column = 0; column < sourceLineCount; column += 1) currents[column] += alpha * search[column];
    });
    return currents.map((voltage) => voltage / this.meanOhms);
  }

  /** What the bit lines send by themselves, all source lines at ground: the right-hand side of a drive. */
  private answerDrivers(volts: ArrayLike<number>): void {
    const { bitPivots, answer, coupling, sourceLineCount: stride } = this.sweeps.fields;
    const { bitLineCount, sourceLineCount } = this.crossbar;
    answer.fill(0);
    for (let row = 0; row < bitLineCount; row += 1) {
      let voltage = volts[row] * this.driverScale;
      for (let cell = row * stride; voltage !== 0 && cell < row * stride + sourceLineCount; cell += 1) {
        voltage *= bitPivots[cell];
        answer[cell] = coupling[cell] * voltage;
      }
    }
  }

  /**
   * What one volt on each bit line, the others grounded, sends out of one source line. By reciprocity that is what one volt at the source line's
   * end sends into each grounded bit line: one solve for all.
   * @returns siemens, one a bit line
   */
  effectiveColumn(sourceLine: number, accuracy = columnAccuracy): Float64Array {
    const { answer, drivenEnds } = this.sweeps.fields;
    const { bitLineCount } = this.crossbar;
    answer.fill(0);
    answer[sourceLine] = 1;
    const column = new Float64Array(bitLineCount);
    this.iterate(accuracy, (alpha) => {
      for (let row = 0; row < bitLineCount; row += 1) column[row] += alpha * drivenEnds[row];
    });
    return column.map((voltage) => (voltage * this.driverScale) / this.meanOhms);
  }

  /**
   * Solves for the right-hand side that stands in `answer`. The solution itself is not kept, only what `add` takes of each step, so that an
   * iteration moves less memory. Products that plain conjugate gradients sum up anew follow from the two of the sweeps: with p the search
   * direction and A p = T_s p − y, the residual's norm becomes alpha² · (A p)·T_s⁻¹(A p) − norm, because A-conjugate directions leave
   * (A p)·z = p·A p; and p·T_s p = norm + beta² · (that before), because the residual is orthogonal to the direction before.
   */
  private iterate(accuracy: Accuracy, add: (alpha: number) => void): void {
    const { sweeps } = this;
    sweeps.fields.residual.fill(0);
    sweeps.fields.search.fill(0);
    let norm = sweeps.alongSourceLines(1); // residual 0 − 1 · (0 − T_s⁻¹ b)
    const enough = norm * accuracy.residualFraction ** 2;
    let beta = 0;
    let searchNorm = 0;
    this.iterations = 0;
    while (norm > enough) {
      if (this.iterations === accuracy.iterationLimit) throw new RangeError(`the crossbar is not solved after ${this.iterations} iterations`);
      searchNorm = norm + beta * beta * searchNorm;
      const sent = sweeps.alongBitLines(beta);
      const alpha = norm / (searchNorm - sent);
      add(alpha);
      const returned = sweeps.alongSourceLines(alpha);
      const next = alpha * alpha * (searchNorm - 2 * sent + returned) - norm;
      beta = next / norm;
      norm = next;
      this.iterations += 1;
    }
  }
}

/**
 * The matrix that the array is from outside: with driven or grounded bit lines, current of source line = Σ volts[bit line] · matrix. One solve a
 * source line. No solve begins from its neighbour's: with the source line's own voltage moved along, what would be gained is less than one of
 * the usual seven iterations, and keeping the solution would cost each of them a fifth.
 *
 * @param sourceLines which columns are wanted, in this order
 * @returns siemens, bit line × sourceLines.length + index of the source line in the list
 */
export function effectiveConductances(crossbar: Crossbar, sourceLines: readonly number[], makeSweeps = usualSweeps): Float64Array {
  const solver = new CrossbarSolver(crossbar, makeSweeps);
  const matrix = new Float64Array(crossbar.bitLineCount * sourceLines.length);
  sourceLines.forEach((sourceLine, index) => {
    solver.effectiveColumn(sourceLine).forEach((siemens, bitLine) => {
      matrix[bitLine * sourceLines.length + index] = siemens;
    });
  });
  return matrix;
}
