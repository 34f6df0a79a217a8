// SPDX-License-Identifier: Apache-2.0
// How fallbackctl reports: exit codes, errors on stderr, tables for people and JSON for programs.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace fallbackd::ctl {

constexpr int kOk = 0;
constexpr int kFailed = 1;  // refused, missing, did not work
constexpr int kUsage = 2;   // command line or configuration

/// "fallbackctl: TEXT" on stderr, escaped line by line.
void complain(const std::string& text);
/// The same for an Error; returns kFailed.
int complain(const Error& error);
/// kOk; or complains and returns kUsage if the command line was wrong, otherwise kFailed.
int exitCodeOf(const Result<>& done);

/// `code`, at the end of a command. Where standard output has not taken everything, as on a full disk:
/// complains, and returns kFailed in place of kOk.
int afterOutput(int code);

/// Columns as wide as their widest cell, two spaces apart, on stdout; cells are escaped. A row of one
/// cell is a separate line.
void printTable(const std::vector<std::vector<std::string>>& rows);

/// 1536 -> "1.5 KiB"
std::string humanBytes(std::uint64_t bytes);

enum class Format { table, json };

}  // namespace fallbackd::ctl
