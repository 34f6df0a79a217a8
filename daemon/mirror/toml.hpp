// SPDX-License-Identifier: Apache-2.0
// TOML, read by toml++. For sources that look into the parsed tree.
#pragma once

#include "base/error.hpp"

#include <string>
#include <string_view>

#define TOML_ENABLE_FORMATTERS 0
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

namespace fallbackd::mirror {

/// Reason invalid, with line and column in `file`.
Result<toml::table> parseToml(std::string_view text, const std::string& file);

}  // namespace fallbackd::mirror
