import type { SweepPath, SweepPoint } from '../proto/cell-sweep.js';
import type { FormCellsResult, ProgramCellsResult, SetCellsResult, Staircase, SweepCellResult } from '../proto/message.js';
import type { ProgramStaircases } from './envelope.js';

/** What a forming asks for, beside its cells. */
export interface FormRequest {
  readonly staircase: Staircase;
  /** Formed cells among those selected, those that were formed before included. */
  readonly targetCells: number;
  readonly formedCode: number;
  readonly overFormedCode: number;
}

/** What program-and-verify asks for, beside the windows of its cells. */
export interface ProgramCellsRequest extends ProgramStaircases {
  readonly pulsesPerCell: number;
  /** Of each verifying read. */
  readonly averages: number;
}

/** A sweep of one cell: which branches it has, and how far each goes. */
export interface SweepRequest extends SweepPath {
  readonly bitLine: number;
  readonly sourceLine: number;
  /** For which each step lasts. */
  readonly dwellNanoseconds: number;
}

/** `outcomes`: one byte a cell, the index of a `CellOutcome`. */
interface WithOutcomes { readonly outcomes: Uint8Array }

export type FormResult = Omit<FormCellsResult, 'outcomesSha256' | 'sizeBytes'> & WithOutcomes;
export type ProgramResult = Omit<ProgramCellsResult, 'outcomesSha256' | 'sizeBytes'> & WithOutcomes;
export type SetResult = SetCellsResult;
export type SweepResult = Omit<SweepCellResult, 'pointsSha256' | 'sizeBytes'> & { readonly points: readonly SweepPoint[] };
