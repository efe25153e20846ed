import type { Chance } from './chance.js';
import { type Happening, happenings } from './fault-plan.js';
import { GuardedClock } from './guarded-clock.js';
import type { Simulation } from './simulation.js';
import { drawWork, type Work } from './work.js';
import { inferenceParameters, inferenceVariants } from './recordings.js';

const minuteMicroseconds = 60_000_000;
const longestAwayMicroseconds = 3_000_000;
const longestHangMicroseconds = 4_000_000;
const longestRefusalMicroseconds = 3_000_000;
const longestStopDelayMicroseconds = 2_000_000;
const slowMicroseconds = 400_000;

/** Work as the service takes it: an inference gets the parameters that its door would give it. */
export function asSubmitted({ kind, parameters }: Work): Work {
  if (kind !== 'inference') return { kind, parameters };
  const { variant, execution } = parameters as { variant: number; execution: 'device' | 'host' };
  return { kind, parameters: inferenceParameters(variant, execution) };
}

/** Everybody who does something to the bench while faults exist: people who submit and stop jobs, press buttons and pull cables, and bad luck. */
export class Operator {
  private readonly clock: GuardedClock;

  constructor(private readonly simulation: Simulation, private readonly chance: Chance) {
    this.clock = new GuardedClock(simulation.clock);
  }

  /** Spreads so many jobs over the time, and lets happen what the plan knows. */
  begin(jobs: number, microseconds: number): void {
    for (let job = 0; job < jobs; job += 1) this.clock.after(this.chance.below(microseconds), () => this.submit());
    for (const happening of happenings) this.expect(happening);
  }

  end(): void {
    this.clock.kill();
  }

  private submit(): void {
    const id = this.simulation.submit(asSubmitted(drawWork(this.chance, inferenceVariants)));
    if (id === undefined || !this.chance.happens(0.3)) return;
    this.clock.after(this.chance.below(longestStopDelayMicroseconds), () => this.simulation.host?.stop(id));
  }

  private expect(happening: Happening): void {
    const perMinute = this.simulation.plan.perMinute[happening];
    if (perMinute === 0) return;
    this.clock.after(this.chance.below((2 * minuteMicroseconds) / perMinute), () => {
      this.happens(happening);
      this.expect(happening);
    });
  }

  private happens(happening: Happening): void {
    const { simulation, chance } = this;
    const { controller, cable, clock } = simulation;
    if (happening === 'port-close') cable.cut('the cable was pulled');
    else if (happening === 'restart') controller.restart();
    else if (happening === 'power-cut') controller.powerCut();
    else if (happening === 'hang') controller.hang(chance.below(longestHangMicroseconds));
    else if (happening === 'refuse') simulation.refusesUntilMicroseconds = clock.nowMicroseconds() + chance.below(longestRefusalMicroseconds);
    else if (happening === 'host-crash') this.killHost();
    else if (happening === 'emergency-stop') this.emergencyStop();
    else this.disturbLine(happening);
  }

  private disturbLine(happening: 'half-open' | 'slow'): void {
    const { chance, simulation } = this;
    const { cable } = simulation;
    const sender = chance.pick(['host', 'board'] as const);
    simulation.trace.tell('line', `${happening} for what the ${sender} sends`);
    if (happening === 'slow') cable.ways[sender].slowMicroseconds = chance.below(slowMicroseconds);
    else cable.ways[sender].blockage = chance.pick(['vanish', 'stick']);
    this.clock.after(chance.below(longestHangMicroseconds), () => cable.heal());
  }

  private killHost(): void {
    if (this.simulation.host === undefined) return;
    this.simulation.killHost();
    this.clock.after(this.chance.below(longestAwayMicroseconds), () => this.simulation.startHost());
  }

  /** Somebody hits the button; later somebody finds out why, and restarts the controller. */
  private emergencyStop(): void {
    this.simulation.trace.tell('operator', 'ESTOP');
    this.simulation.host?.device.emergencyStop();
    this.clock.after(this.chance.below(longestHangMicroseconds), () => this.simulation.controller.restart());
  }
}
