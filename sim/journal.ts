/** Remembers the answers of effectful requests, so that one that is sent again is answered and not applied again. The oldest is forgotten first. */
export class Journal<Answer> {
  private readonly answers = new Map<string, Answer>();

  constructor(private readonly limit: number) {}

  record(requestId: string, answer: Answer): void {
    this.answers.set(requestId, answer);
    for (const oldest of this.answers.keys()) {
      if (this.answers.size <= this.limit) break;
      this.answers.delete(oldest);
    }
  }

  find(requestId: string): Answer | undefined {
    return this.answers.get(requestId);
  }
}
