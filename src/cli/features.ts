// `features`: what the ublk driver of the running kernel can do.

import { defineCommand } from "./command.ts";
import { formatTable } from "./table.ts";

export const featuresCommand = defineCommand({
  name: "features",
  summary: "Show what the ublk driver can do",
  description:
    "Lists the driver's feature flags; kernels before 6.5 cannot be asked. Needs the ublk_drv " +
    "module.",
  options: {},
  async run(ctx, { json }) {
    const driver = await ctx.platform.openDriver();
    const features = await driver.features();
    if (json) {
      ctx.stdout.write(JSON.stringify(features, null, 2) + "\n");
      return;
    }
    const rows = features.map(({ name, bit, present, summary }) => [
      String(bit),
      name,
      present ? "yes" : "no",
      summary,
    ]);
    ctx.stdout.write(formatTable(["BIT", "FEATURE", "HERE", "MEANING"], rows, { right: [0] }));
  },
});
