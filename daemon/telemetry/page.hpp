// SPDX-License-Identifier: Apache-2.0
// The status page: one file without external resources, compiled into the program.
#pragma once

#include "http/server.hpp"

#include <string_view>

namespace fallbackd::telemetry {

std::string_view pageHtml();

/// The page, and a policy that lets the browser run and show only what is in it.
http::Response statusPage();

}  // namespace fallbackd::telemetry
