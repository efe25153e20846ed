/** What is known about the state that a command would have changed. `unknown` is never retried blindly. */
export type Outcome = 'not-applied' | 'applied' | 'unknown';
