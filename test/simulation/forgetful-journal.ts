import type { Final } from '../../proto/message.js';
import { Journal } from '../../sim/journal.js';

/** The canary: a board with this journal applies a request again that comes again. A simulation that does not find that out is worth nothing. */
export class ForgetfulJournal extends Journal<Final> {
  override find(): Final | undefined {
    return undefined;
  }
}
