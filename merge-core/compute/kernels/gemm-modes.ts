// What the product kernels do with what C holds.

/** C = A B. */
export const SET: i32 = 0;
/** C += A B. */
export const ADD: i32 = 1;
/** C -= A B. */
export const SUBTRACT: i32 = 2;
