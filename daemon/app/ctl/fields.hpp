// SPDX-License-Identifier: Apache-2.0
// Reads the daemon's JSON for tables: a missing value is a dash.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

namespace fallbackd::ctl {

std::string text(const boost::json::object& object, std::string_view key);
/// The text itself, empty if it is empty or missing: not for tables.
std::string rawText(const boost::json::object& object, std::string_view key);
/// False if it is missing.
bool flag(const boost::json::object& object, std::string_view key);
/// "12.3 ms", from a number of milliseconds; seconds or minutes for larger numbers.
std::string duration(const boost::json::object& object, std::string_view key);
/// For an RFC 3339 time: "14:03:59" in UTC, preceded by the date unless it is the day of `now`.
std::string when(const boost::json::object& object, std::string_view key, std::string_view now);
/// An empty list if there is none.
const boost::json::array& list(const boost::json::object& object, std::string_view key);
/// NAMESPACE/POD
std::string podOf(const boost::json::object& object);

/// The columns that every table of recoveries has: the headings, and the cells of one recovery.
std::vector<std::string> recoveryHead();
std::vector<std::string> recoveryCells(const boost::json::object& recovery, std::string_view now);

}  // namespace fallbackd::ctl
