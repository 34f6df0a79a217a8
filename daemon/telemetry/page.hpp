// The status page: one file without outside resources, part of the program.
#pragma once

#include "telemetry/http_server.hpp"

#include <string_view>

namespace fallbackd::telemetry {

std::string_view pageHtml();

/// The page, and a policy that lets the browser run and show nothing but what is in it.
Response statusPage();

}  // namespace fallbackd::telemetry
