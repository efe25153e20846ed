import { type CameraParameters, nmnistCamera } from '../dataset/camera.js';

/**
 * The camera that the demonstration network was trained before: its digits a little smaller, its pixels alike but for a mismatch that is drawn in
 * each film. What the network was found on must stay as it was, to the bit.
 */
export const demonstrationCamera: CameraParameters = {
  ...nmnistCamera,
  pathPixels: [
    [-2.5, -1.58], [-2.5, -1.5], [-2.57, -1.2], [-2.6, -0.55], [-2.6, 0.52], [-2.47, 1.75], [-1.87, 2.7], [-1.28, 3.27],
    [-1.05, 3.43], [-1.04, 3.49], [-0.97, 3.49], [-0.84, 3.45], [-0.64, 3.42], [-0.1, 3.15], [0.73, 2.33], [1.29, 1.22],
    [1.55, 0.11], [1.91, -0.88], [2.27, -1.46], [2.43, -1.59], [2.59, -1.61], [2.76, -1.6], [2.8, -1.62], [2.65, -1.6],
    [1.83, -1.55], [0.88, -1.55], [-0.15, -1.6], [-1.22, -1.65], [-1.8, -1.76], [-2.25, -1.79], [-2.4, -1.78], [-2.43, -1.78],
  ],
  magnification: 1,
  onThreshold: 0.25,
  offThreshold: 0.217,
  thresholdPattern: null,
  thresholdMismatch: 0.11,
};
