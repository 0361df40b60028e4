"""Answers the fields of the API as the resolvers that Amplify generates answer them.

`operations` does it over any table (`ports`); `dynamodb` is the deployed one.
"""
