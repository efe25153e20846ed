/** What a network says of one recording while it looks: the time mean of its outputs after each timestep, network units. */
export interface Course {
  readonly label: number;
  readonly means: readonly (readonly number[])[];
}

/** What a threshold may cost: two recordings in a thousand. */
const accuracyLoss = 0.002;
const steps = 100;

function confidenceOf(means: readonly number[], temperature: number): number {
  const largest = Math.max(...means);
  return 1 / means.reduce((sum, mean) => sum + Math.exp((mean - largest) / temperature), 0);
}

function accuracyAt(courses: readonly Course[], temperature: number, threshold: number): number {
  const right = courses.filter(({ label, means }) => {
    const stop = means.findIndex((step) => confidenceOf(step, temperature) > threshold);
    const decision = means[stop < 0 ? means.length - 1 : stop];
    return decision.indexOf(Math.max(...decision)) === label;
  });
  return right.length / courses.length;
}

/** The lowest threshold of the softmax rule, in hundredths, whose accuracy is at most 0.2 points below that of all timesteps. */
export function fitThreshold(courses: readonly Course[], temperature: number): number {
  const demanded = accuracyAt(courses, temperature, 1) - accuracyLoss;
  for (let step = 1; step < steps; step += 1) if (accuracyAt(courses, temperature, step / steps) >= demanded) return step / steps;
  return (steps - 1) / steps;
}
