// SPDX-License-Identifier: Apache-2.0
// Whether a document matches the schema of a command's output in docs/output.schema.json.
#pragma once

#include "shell.hpp"
#include "temp_folder.hpp"

#include <string>

namespace fallbackd::test {

/// Empty if the document is valid, otherwise its problems.
inline std::string schemaProblems(const std::string& command, const std::string& document) {
  const TempFolder folder;
  const auto file = folder.write("document.json", document);
  // Debian's jsonschema. A reference resolves only within the whole schema.
  return shell(
             "/usr/bin/python3 -c 'import json, sys, jsonschema; schema = json.load(open(sys.argv[1])); "
             "schema[\"$ref\"] = \"#/$defs/\" + sys.argv[2].replace(\" \", \"%20\"); "
             "errors = "
             "list(jsonschema.Draft202012Validator(schema).iter_errors(json.load(open(sys.argv[3])))); "
             "[print(list(e.path), e.message[:300]) for e in errors]' " OUTPUT_SCHEMA " '" +
             command + "' " + file)
      .text;
}

}  // namespace fallbackd::test
