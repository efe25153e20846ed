/** Time under voltage is counted in steps of so much from 0 on, by magnitude; the last step holds everything above (PROTOCOL.md §"Pulses (3)"). */
export const voltageStepMillivolts = 100;
export const voltageStepCount = 51;

/** The step that a voltage is counted in. */
export const voltageStepOf = (millivolts: number) => Math.min(voltageStepCount - 1, Math.floor(Math.abs(millivolts) / voltageStepMillivolts));
