"""Answers the fields of the API as the resolvers that Amplify generates answer them."""
