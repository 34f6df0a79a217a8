// SPDX-License-Identifier: Apache-2.0
// One form for everything that fallbackctl prints for programs: JSON, or the same as YAML.
#pragma once

#include <string>

#include <boost/json/value.hpp>

namespace CLI {
class App;
}

namespace fallbackd::ctl {

/// -o: table, json or yaml.
void addFormat(CLI::App& command, std::string& format);

/// Block style; strings are quoted unless they are plain words.
std::string yamlText(const boost::json::value& value);

/// On stdout, as `format` says: yaml, or else JSON in one line.
void printDocument(const boost::json::value& value, const std::string& format);

}  // namespace fallbackd::ctl
