import type { FormCellsResult, ProgramCellsResult, SetCellsResult, Staircase } from '../proto/message.js';
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

/** `outcomes`: one byte a cell, the index of a `CellOutcome`. */
interface WithOutcomes { readonly outcomes: Uint8Array }

export type FormResult = Omit<FormCellsResult, 'outcomesSha256' | 'sizeBytes'> & WithOutcomes;
export type ProgramResult = Omit<ProgramCellsResult, 'outcomesSha256' | 'sizeBytes'> & WithOutcomes;
export type SetResult = SetCellsResult;
