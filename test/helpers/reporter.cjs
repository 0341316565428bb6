// Mocha's spec reporter, ending in one plain line that any tool can read: `N passed, N failed, N skipped`.
// Of a test that is run once more, as those in the editor are, it tells what the first attempt failed for: passing then does not make that untold.
const { reporters, Runner } = require("mocha");

module.exports = class extends reporters.Spec {
  #again = 0;

  constructor(runner, options) {
    super(runner, options);
    runner.on(Runner.constants.EVENT_TEST_RETRY, (test, error) => {
      this.#again++;
      console.log(`      run once more: ${test.fullTitle()}\n${error.stack ?? error}`);
    });
  }

  epilogue() {
    super.epilogue();
    const { passes, failures, pending } = this.stats;
    if (this.#again > 0) console.log(`${this.#again} run once more, since the first attempt failed (told above)`);
    console.log(`${passes} passed, ${failures} failed, ${pending} skipped`);
  }
};
