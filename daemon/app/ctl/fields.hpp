// Reading the daemon's JSON for tables: what is not there is a dash.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

namespace fallbackd::ctl {

std::string text(const boost::json::object& object, std::string_view key);
/// "12.3 ms", from a number of milliseconds; seconds and minutes where they are many.
std::string duration(const boost::json::object& object, std::string_view key);
/// Of an RFC 3339 time: "14:03:59" of today, in UTC; the date before it on another day than `now`.
std::string when(const boost::json::object& object, std::string_view key, std::string_view now);
/// An empty list where there is none.
const boost::json::array& list(const boost::json::object& object, std::string_view key);
/// NAMESPACE/POD
std::string podOf(const boost::json::object& object);

/// The columns that every table of recoveries has: the heads, and the cells of one.
std::vector<std::string> recoveryHead();
std::vector<std::string> recoveryCells(const boost::json::object& recovery, std::string_view now);

}  // namespace fallbackd::ctl
