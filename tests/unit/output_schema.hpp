// SPDX-License-Identifier: Apache-2.0
// Whether a document is what docs/output.schema.json says of a command's output.
#pragma once

#include "shell.hpp"
#include "temp_folder.hpp"

#include <string>

namespace fallbackd::test {

/// Empty if it is valid, otherwise what is wrong.
inline std::string schemaProblems(const std::string& command, const std::string& document) {
  const TempFolder folder;
  const auto file = folder.write("document.json", document);
  // Debian's jsonschema; a reference needs the whole schema around it.
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
