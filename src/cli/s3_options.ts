// Options of the commands that speak to a replica on S3. What is not given comes from the standard
// AWS environment variables; credentials come from there (or a profile) only.

import type { S3Config } from "../replica/s3_settings.ts";
import type { OptionValues } from "./command.ts";
import { choiceOption, textOption } from "./options.ts";

const GROUP = "Replicas on S3:";

export const s3Options = {
  s3Endpoint: textOption("--s3-endpoint <URL>", {
    summary: "Server other than AWS, http or https",
    defaultText: "AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL",
    group: GROUP,
  }),
  s3Region: textOption("--s3-region <REGION>", {
    summary: "Region of the bucket",
    defaultText: "AWS_REGION, AWS_DEFAULT_REGION",
    group: GROUP,
  }),
  s3Addressing: choiceOption("--s3-addressing <STYLE>", {
    summary: "Where the bucket's name goes: path, host, or auto (host with AWS, else path)",
    choices: ["auto", "path", "host"],
    default: "auto",
    group: GROUP,
  }),
};

/** What the options say about S3; fields that were not given are absent. */
export function s3ConfigOf(values: OptionValues<typeof s3Options>): S3Config {
  const { s3Endpoint: endpoint, s3Region: region, s3Addressing: addressing } = values;
  return {
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    ...(addressing === "auto" ? {} : { pathStyle: addressing === "path" }),
  };
}
