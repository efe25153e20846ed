// A thread that simulates the seeds that it is sent, one after the other.
import { parentPort } from 'node:worker_threads';
import { type Assignment, carryOut } from './assignment.js';

parentPort?.on('message', (assignment: Assignment) => {
  void carryOut(assignment).then((report) => parentPort?.postMessage(report));
});
