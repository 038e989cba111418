/** Kept equal to the Python package's by a test. */
export const VERSION = '0.1.0';

/** The number of the server's interface that this extension speaks. */
export const API = 1;
