import { connect, type Socket } from 'node:net';
import { parseAddress } from '../../driver/index.js';
import { type ErrorCode, MacroError } from '../../proto/error.js';

/** What a source meter says of the element between its terminals. */
export interface MeterReading {
  /** Its answer to `*IDN?`: maker, model, serial number, firmware. */
  readonly identification: string;
  readonly ohms: number;
}

/** For the whole conversation: a measurement of one resistance takes well below a second. */
const usualTimeoutMilliseconds = 5000;
/** SCPI answers are a line of tens of characters. */
const answerCharactersMaximum = 1024;
/** What SCPI says of a measurement beyond its range; 9.91E37 is not-a-number. */
const overloadOhms = 9.9e37;
const number = /^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$/;

const refuse = (code: ErrorCode, address: string, problem: string, cause?: unknown): never => {
  throw new MacroError(code, `the source meter at ${address} ${problem}`, { field: 'meter', cause });
};

/** @throws MacroError BAD_ADDRESS where it is no tcp://host:port */
export function meterAddress(text: string): { readonly host: string; readonly port: number } {
  const address = parseAddress(text);
  if (address.kind !== 'tcp') throw new MacroError('BAD_ADDRESS', `"${text}": a source meter is reached at tcp://host:port`, { field: 'meter' });
  return address;
}

/** Lines as they come. An end that never ends its line is given up. */
async function* linesOf(socket: Socket, address: string): AsyncGenerator<string, void> {
  let rest = '';
  for await (const chunk of socket.setEncoding('latin1')) {
    rest += chunk as string;
    for (let end = rest.indexOf('\n'); end !== -1 && end <= answerCharactersMaximum; end = rest.indexOf('\n')) {
      yield rest.slice(0, end).trim();
      rest = rest.slice(end + 1);
    }
    if (rest.length > answerCharactersMaximum) refuse('METER_INVALID', address, `sent more than ${answerCharactersMaximum} characters without an end of line`);
  }
}

function identificationOf(line: string, address: string): string {
  // It is printed and kept: a line of another protocol must not become a name.
  if (!/^[\x20-\x7e]+$/.test(line)) refuse('METER_INVALID', address, `answered *IDN? with ${JSON.stringify(line)}, which is no name`);
  return line;
}

function ohmsOf(line: string, address: string): number {
  if (!number.test(line)) refuse('METER_INVALID', address, `answered ${JSON.stringify(line.slice(0, 80))} where one number of ohms was expected`);
  const ohms = Number(line);
  if (Math.abs(ohms) >= overloadOhms) refuse('METER_OVERLOAD', address, `reports an overload (${line})`);
  if (ohms <= 0) refuse('METER_INVALID', address, `measured ${line} ohms, which no element has`);
  return ohms;
}

async function converse(socket: Socket, address: string): Promise<MeterReading> {
  const lines = linesOf(socket, address);
  const ask = async (query: string): Promise<string> => {
    socket.write(`${query}\n`);
    const { value } = await lines.next();
    return value ?? refuse('METER_UNREACHABLE', address, `closed the connection instead of answering ${query}`);
  };
  const identification = identificationOf(await ask('*IDN?'), address);
  return { identification, ohms: ohmsOf(await ask(':MEASure:RESistance?'), address) };
}

/**
 * Has a source meter measure the element between its terminals: SCPI over TCP, one line a question and one an answer.
 * @param text its address, tcp://host:port; instruments of bench size listen on port 5025
 * @param signal gives it up
 * @throws MacroError BAD_ADDRESS, METER_UNREACHABLE, METER_INVALID, METER_OVERLOAD, CANCELLED
 */
export async function measureResistance(text: string, signal?: AbortSignal, timeoutMilliseconds = usualTimeoutMilliseconds): Promise<MeterReading> {
  const { host, port } = meterAddress(text);
  const limit = AbortSignal.timeout(timeoutMilliseconds);
  const socket = connect({ host, port, signal: signal === undefined ? limit : AbortSignal.any([signal, limit]) });
  socket.on('error', () => undefined); // whoever waits for a line is told of it
  try {
    return await converse(socket, text);
  } catch (error) {
    if (error instanceof MacroError) throw error;
    if (signal?.aborted === true) throw new MacroError('CANCELLED', `the job was stopped while the source meter at ${text} was asked`, { cause: error });
    const problem = limit.aborted ? `did not answer within ${timeoutMilliseconds} ms` : `cannot be asked: ${(error as Error).message}`;
    return refuse('METER_UNREACHABLE', text, problem, error);
  } finally {
    socket.destroy();
  }
}
