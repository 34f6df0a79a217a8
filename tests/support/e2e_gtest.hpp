// SPDX-License-Identifier: Apache-2.0
// gtest assertions for Results.
#pragma once

#include "base/error.hpp"

#include <gtest/gtest.h>

/// E2E_TRY(auto value, expression): declares `value`, or fails the test with the error's text and returns.
#define E2E_TRY(decl, ...) E2E_TRY_IMPL(FB_CONCAT(e2eTry, __LINE__), decl, __VA_ARGS__)
#define E2E_TRY_IMPL(tmp, decl, ...)         \
  auto tmp = (__VA_ARGS__);                  \
  ASSERT_TRUE(tmp) << tmp.error().message(); \
  decl = std::move(*tmp)
/// The same without a value.
#define E2E_CHECK(...)                                       \
  do {                                                       \
    const auto e2eChecked = (__VA_ARGS__);                   \
    ASSERT_TRUE(e2eChecked) << e2eChecked.error().message(); \
  } while (false)
